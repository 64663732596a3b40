"""Differentiable augmentation of images with their masks, by kornia.

Three places use it: before the attack (`dihedral`, `photometric`), between attack and ANSM
(`channel`: what a platform does to an uploaded image), and inside an attack (EOT over `channel`).
What an image passes in a measurement is real and has no gradient: `evaluation.channels.CHANNELS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from kornia.enhance import (
    adjust_brightness,
    adjust_contrast,
    adjust_gamma,
    jpeg_codec_differentiable,
)
from kornia.filters import gaussian_blur2d
from torch import Tensor
from torch.nn import functional

from ansm_plugin.errors import ConfigError, unknown_name


def dihedral(images: Tensor, masks: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip and turn a batch of square crops by one random element of the dihedral group.

    Exact: no pixel value changes. Shape: `(B, C, S, S)` and `(B, 1, S, S)` -> the same.
    """
    flip = torch.randint(2, (), generator=generator)
    turns = torch.randint(4, (), generator=generator)
    if flip:
        images, masks = images.flip(3), masks.flip(3)
    return images.rot90(int(turns), (2, 3)), masks.rot90(int(turns), (2, 3))


def photometric(images: Tensor, generator: torch.Generator) -> Tensor:
    """Change brightness, contrast and gamma of each image a little, as cameras differ.

    Shape: `(B, 3, H, W)` in [0, 1] -> the same.
    """
    gain, offset, gamma = (
        _uniform(low, high, len(images), generator, images)
        for low, high in ((0.9, 1.1), (-0.05, 0.05), (0.9, 1.1))
    )
    changed = adjust_contrast(images, gain)
    changed = adjust_brightness(changed, offset)
    # Gamma has an infinite slope at 0; one grey level above keeps gradients finite.
    adjusted: Tensor = adjust_gamma(changed.clamp(1 / 255, 1), gamma)
    return adjusted.clamp(0, 1)


def channel(images: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
    """Pass a batch through one randomly drawn channel of `DIFFERENTIABLE`: what a platform does.

    Differentiable; no geometry changes, so masks stay valid.

    Args:
        images: `(B, 3, H, W)` in [0, 1].
        generator: decides the channel and its strength per image.
        names: channels to draw from, one named twice twice as often; all alike by default.

    Raises:
        ConfigError: an unknown channel.
    """
    require_channels(names)
    allowed = list(names) or list(DIFFERENTIABLE)
    name = allowed[int(torch.randint(len(allowed), (), generator=generator))]
    return DIFFERENTIABLE[name](images, generator).clamp(0, 1)


def require_channels(names: Sequence[str]) -> None:
    """Raise ConfigError for an unknown channel of `channel`."""
    for name in names:
        if name not in DIFFERENTIABLE:
            raise ConfigError(unknown_name("channel", name, DIFFERENTIABLE))


def _jpeg(images: Tensor, generator: torch.Generator) -> Tensor:
    quality = _uniform(75, 98, len(images), generator, images)
    # The codec works on blocks of 16 pixels.
    height, width = images.shape[-2:]
    padding = (0, -width % 16, 0, -height % 16)
    padded = functional.pad(images, padding, mode="replicate")
    compressed: Tensor = jpeg_codec_differentiable(padded, quality)
    return compressed[..., :height, :width]


def _resize(images: Tensor, generator: torch.Generator) -> Tensor:
    factor = float(_uniform(0.7, 0.95, 1, generator, images))
    size = (int(images.shape[-2]), int(images.shape[-1]))
    small = (max(8, round(size[0] * factor)), max(8, round(size[1] * factor)))
    shrunk = functional.interpolate(images, small, mode="bilinear", antialias=True)
    return functional.interpolate(shrunk, size, mode="bilinear")


def _blur(images: Tensor, generator: torch.Generator) -> Tensor:
    sigma = _uniform(0.3, 0.8, len(images), generator, images)
    softened: Tensor = gaussian_blur2d(images, (5, 5), torch.stack((sigma, sigma), dim=1))
    return softened


def _noise(images: Tensor, generator: torch.Generator) -> Tensor:
    sigma = _uniform(0.5 / 255, 2.5 / 255, len(images), generator, images).view(-1, 1, 1, 1)
    noise = torch.randn(images.shape, generator=generator, dtype=images.dtype)
    return images + sigma * noise.to(images.device)


# Channels that let a gradient through: pixels (B, 3, H, W) in [0, 1] and a generator -> pixels.
DIFFERENTIABLE: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "jpeg": _jpeg,
    "resize": _resize,
    "blur": _blur,
    "noise": _noise,
}


def _uniform(
    low: float, high: float, count: int, generator: torch.Generator, like: Tensor
) -> Tensor:
    drawn = torch.rand(count, generator=generator)
    return (low + (high - low) * drawn).to(like.device, like.dtype)
