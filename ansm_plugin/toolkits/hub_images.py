"""How ForensicHub normalised an image, told by the image itself.

`norm_type` is an option of its transforms, but its datasets decide: `ManiDataset`, `JsonDataset`
and `BalancedDataset` put ImageNet's constants in the place of the transform's. All of them start
from images of 8 bit. Only under the right constants are the values whole grey levels again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.spec import LocalizerSpec

_PIXELS = LocalizerSpec(
    family="forensichub",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    activation="sigmoid",
    mask_key="pred_mask",
)
_IMAGENET = LocalizerSpec()
SPECS: Mapping[str, LocalizerSpec] = {
    "image_net": replace(_PIXELS, mean=_IMAGENET.mean, std=_IMAGENET.std),
    "clip": replace(
        _PIXELS,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    "standard": replace(_PIXELS, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "none": _PIXELS,
}
_SIDE = 64  # pixels a side that are looked at; far more than the constants need to differ
_TOLERANCE = 0.02  # grey levels: fp32 keeps some 1e-4 of them, fp16 does not


def norm_type_of(images: Tensor, known: str = "") -> str | None:
    """Return the norm_type under which images `(B, 3, H, W)` are whole grey levels, or None.

    None where no one fits all of them: after noise, blending or attacks in floats. Where several
    fit, as "standard" and "none" do for white paper, the one `known` before is meant.

    Raises:
        ConfigError: some fit one and some another, as `CrossDataset` can mix them.
    """
    looked = _thinned(images.detach().float())
    fitting = {name: _is_whole(spec.denormalise(looked)) for name, spec in SPECS.items()}
    for name in sorted(fitting, key=lambda name: name != known):
        if bool(fitting[name].all()):
            return name
    found = [name for name, fits in fitting.items() if bool(fits.any())]
    if len(found) > 1 and bool(torch.stack([fitting[n] for n in found]).any(0).all()):
        raise ConfigError(
            f"one batch holds images normalised by {' and by '.join(found)}: CrossDataset mixes "
            "datasets that keep the transform's norm_type with datasets that take ImageNet's. "
            "Set the transform's norm_type to image_net, or test the datasets one by one."
        )
    return None


def require_spec(images: Tensor, known: str = "") -> LocalizerSpec:
    """Return how to undo the normalisation of images `(B, 3, H, W)`; see `norm_type_of`.

    Raises:
        ConfigError: the images do not tell.
    """
    found = norm_type_of(images, known)
    if found is None:
        raise ConfigError(
            "these images are no whole grey levels under any norm_type of ForensicHub, so how "
            f"they are normalised is not known: give norm_type, one of {', '.join(SPECS)}."
        )
    return replace(SPECS[found], normalisation=f"ForensicHub's images: {found}")


def _thinned(images: Tensor) -> Tensor:
    rows, columns = (max(1, side // _SIDE) for side in images.shape[-2:])
    return images[..., ::rows, ::columns]


def _is_whole(pixels: Tensor) -> Tensor:
    """Return for each image whether all its values are grey levels of 0 to 255. Shape: `(B,)`."""
    levels = 255 * pixels.flatten(1)
    near = (levels - levels.round()).abs() < _TOLERANCE
    within = (levels > -_TOLERANCE) & (levels < 255 + _TOLERANCE)
    return (near & within).all(1)
