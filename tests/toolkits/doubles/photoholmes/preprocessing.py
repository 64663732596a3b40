"""Test double of photoholmes.preprocessing: steps are called with all data and return all data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


class PreProcessingPipeline:
    """Steps one after another; what is not among `outputs_keys` is left out."""

    def __init__(self, transforms: list[Any], inputs: list[str], outputs_keys: list[str]) -> None:
        self.transforms = transforms
        self.inputs = inputs
        self.outputs_keys = outputs_keys

    def __call__(self, **kwargs: Any) -> dict[str, Any]:
        for key in self.inputs:
            if key not in kwargs:
                raise ValueError(f"Missing input {key} in inputs")
        for transform in self.transforms:
            kwargs = transform(**kwargs)
        return {k: v for k, v in kwargs.items() if k in self.outputs_keys}


class ZeroOneRange:
    """Divides by 255 what is of 8 bit, or above 1 somewhere."""

    def __call__(self, image: Any, **kwargs: Any) -> dict[str, Any]:
        is_8_bit = image.dtype in (np.uint8, torch.uint8)
        return {"image": image / 255 if is_8_bit or image.max() > 1 else image, **kwargs}


class Normalize:
    """CLIP's constants, as EXIF as Language has them."""

    def __call__(self, image: Tensor, **kwargs: Any) -> dict[str, Any]:
        mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
        std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
        return {"image": (image.float() - mean) / std, **kwargs}


class RGBtoGray:
    """Luminance, of tensors by channel first and of arrays by channel last."""

    def __call__(self, image: Any, **kwargs: Any) -> dict[str, Any]:
        if isinstance(image, Tensor):
            grey = 0.299 * image[0] + 0.587 * image[1] + 0.114 * image[2]
            return {"image": grey.unsqueeze(0), **kwargs}
        grey = 0.299 * image[..., 0] + 0.587 * image[..., 1] + 0.114 * image[..., 2]
        return {"image": grey[..., np.newaxis], **kwargs}


class ToNumpy:
    """Tensors `(3, H, W)` become arrays `(H, W, 3)`, everything else an array too."""

    def __call__(self, **kwargs: Any) -> dict[str, Any]:
        image = kwargs.pop("image")
        if isinstance(image, Tensor):
            image = image.permute(1, 2, 0).cpu().numpy()
        return {"image": image, **{k: np.array(v) for k, v in kwargs.items()}}


class GetImageSize:
    """Adds `image_size`."""

    def __call__(self, image: Any, **kwargs: Any) -> dict[str, Any]:
        size = tuple(image.shape[1:]) if isinstance(image, Tensor) else image.shape[:2]
        return {"image": image, "image_size": size, **kwargs}


class AddImage99:
    """Adds what JPEG at quality 99 would leave; here only what matters: PIL takes 8 bit alone."""

    def __call__(self, image: Any, **kwargs: Any) -> dict[str, Any]:
        return {"image": image, "image_99": np.array(Image.fromarray(image)), **kwargs}
