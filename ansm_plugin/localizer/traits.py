"""What a localizer's modules say of themselves: normalisation, fixed sizes, fingerprint."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ansm_plugin.localizer.spec import IMAGENET_MEAN, IMAGENET_STD, Triple


def fingerprint(localizer: nn.Module) -> str:
    """Return the sha256 of the localizer's state: names, dtypes, shapes and values, in order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(localizer.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def find_normalisation(localizer: nn.Module) -> tuple[Triple, Triple, str]:
    """Return mean, std and where they were found; ImageNet with a warning if nowhere.

    Asked of the first module with a `pretrained_cfg`, as timm's have one. Mean and std are of each
    colour channel, for pixels in [0, 1].
    """
    for name, module in localizer.named_modules():
        config = getattr(module, "pretrained_cfg", None)
        if isinstance(config, Mapping) and "mean" in config and "std" in config:
            where = f"pretrained_cfg of {name or type(module).__name__}"
            return _triple(config["mean"]), _triple(config["std"]), where
    warnings.warn(
        f"{type(localizer).__name__} does not say how its input is normalised; ImageNet mean and "
        "std are assumed. Pass spec=LocalizerSpec(mean=..., std=...) if it was trained otherwise.",
        stacklevel=2,
    )
    return IMAGENET_MEAN, IMAGENET_STD, "assumed ImageNet"


def find_fixed_side(localizer: nn.Module) -> int | None:
    """Return the only height and width that an encoder of fixed size takes in pixels, or None.

    Asked of timm's patch embeddings (ViT, Swin) and, where timm records it, of the whole encoder
    (CoAtNet, MaxViT). Smaller images are padded up to it; larger ones the encoder refuses.
    """
    for module in localizer.modules():
        size = getattr(module, "img_size", None)
        if getattr(module, "strict_img_size", False) and isinstance(size, tuple):
            return int(max(size))
        traits = getattr(module, "_traits", {})
        if isinstance(traits, Mapping) and traits.get("fixed_input_size"):
            config = getattr(module, "pretrained_cfg", None) or {}
            return int(max(traits.get("img_size") or config.get("input_size", (3, 224, 224))[-2:]))
    return None


def _triple(values: Sequence[float]) -> Triple:
    r, g, b = (float(v) for v in values)
    return r, g, b
