"""Images and masks as people hold them in Python: tensors, arrays and pictures become a batch."""

from __future__ import annotations

from typing import Any, TypeGuard, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ansm_plugin.attacks.door import require_forgeries
from ansm_plugin.data.samples import Sample
from ansm_plugin.errors import ImageError

Array = Tensor | NDArray[Any] | Image.Image
_WHITE = 255  # what stands for forged in a mask of bytes


def is_array(given: object) -> TypeGuard[Array]:
    """Return whether this holds pixels: a tensor, an array or a picture."""
    return isinstance(given, Tensor | np.ndarray | Image.Image)


def batch_of(image: object, mask: object, names: tuple[str, ...] | None = None) -> Sample:
    """Return a batch of what the user handed over; nothing of it is changed.

    Args:
        image: tensor `(3, H, W)` or `(B, 3, H, W)`, array `(H, W, 3)` or `(B, H, W, 3)`, or a
            picture of PIL; bytes, or floats in [0, 1].
        mask: tensor or array of the same height and width, with or without batch and channel, or a
            picture; booleans, {0, 1}, or bytes in {0, 255}. None marks authentic images.
        names: one each; None numbers them.

    Raises:
        ImageError: anything else; the message says what was given and how to mend it.
    """
    pixels = pixels_of(image)
    count = len(pixels)
    masks = torch.zeros(count, 1, *pixels.shape[-2:]) if mask is None else _masks_of(mask, pixels)
    pixels, masks = require_forgeries(pixels, masks)
    return Sample(
        pixels.clamp(0, 1), masks, names or tuple(f"image {i}" for i in range(1, count + 1))
    )


def pixels_of(image: object) -> Tensor:
    """Return pixels `(B, 3, H, W)` as floats, not yet held against [0, 1].

    Raises:
        ImageError: no pixels, or of another shape than `batch_of` takes.
    """
    if not is_array(image):
        raise ImageError(
            f"an image is {type(image).__name__}; allowed: a tensor (3, H, W) or (B, 3, H, W), an "
            "array (H, W, 3) or (B, H, W, 3), a picture of PIL, or a file."
        )
    pixels = _as_tensor(image)
    pixels = pixels[None] if pixels.ndim == 3 else pixels
    if pixels.ndim != 4 or pixels.shape[1] != 3 or not pixels.numel():
        hint = ""
        if isinstance(image, np.ndarray) and image.ndim in (3, 4) and image.shape[-3] == 3:
            hint = " Arrays hold the channels last; give torch.from_numpy(image)."
        raise ImageError(
            f"an image has shape {tuple(np.shape(cast(Any, image)))}; allowed: tensors (3, H, W) "
            f"and (B, 3, H, W), arrays (H, W, 3) and (B, H, W, 3).{hint}"
        )
    return pixels.float().div(255) if pixels.dtype == torch.uint8 else pixels


def _as_tensor(image: Array) -> Tensor:
    """Return pixels with the channels before height and width."""
    if isinstance(image, Tensor):
        return image.detach()
    if isinstance(image, Image.Image):
        image = np.asarray(image.convert("RGB"))
    channels = np.moveaxis(image, -1, -3) if image.ndim in (3, 4) else image
    return _from_array(channels)


def _from_array(array: NDArray[Any]) -> Tensor:
    try:
        return torch.from_numpy(np.require(array, requirements=["C", "W"]))
    except TypeError as error:
        raise ImageError(f"an array holds {array.dtype}; allowed: bytes or floats.") from error


def _masks_of(mask: object, pixels: Tensor) -> Tensor:
    """Return masks `(B, 1, H, W)`, not yet held against {0, 1}."""
    if not is_array(mask):
        raise ImageError(
            f"a mask is {type(mask).__name__}; allowed: a tensor, an array, a picture of PIL, or "
            "None for an authentic image."
        )
    if isinstance(mask, Image.Image):
        mask = np.asarray(mask.convert("L"))
    masks = mask.detach() if isinstance(mask, Tensor) else _from_array(mask)
    if masks.ndim == 2:
        masks = masks[None, None]
    elif masks.ndim == 3:  # a batch of masks, or one with its channel
        masks = masks[:, None] if len(masks) == len(pixels) else masks[None]
    if masks.dtype == torch.uint8 and bool(((masks == 0) | (masks == _WHITE)).all()):
        masks = masks > 0
    return masks
