"""Baselines that only change pixels: no weights, nothing learned but one setting.

Each filter is a frozen dataclass, pixels `(B, 3, H, W)` in [0, 1] -> the same. What rounds passes
gradients straight through, so that a white-box attack is not misled by a wall.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from kornia.filters import gaussian_blur2d, median_blur
from torch import Tensor

from ansm_plugin.ansm import add
from ansm_plugin.baselines.base import (
    Baseline,
    Filter,
    Fitting,
    best_of,
    filter_candidate,
    filtering,
)
from ansm_plugin.data.codec import through_file

QUALITIES = (98, 95, 90, 85, 80, 75, 60)
DEPTHS = (7, 6, 5, 4, 3)
KERNELS = (3, 5)
SIGMAS = (0.3, 0.45, 0.6, 0.8, 1.0, 1.5)


@dataclass(frozen=True)
class Identity:
    """Change nothing: what every defence has to beat."""

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same tensor."""
        return pixels


@dataclass(frozen=True)
class RandomSigns:
    """Add random signs with the energy that the ANSM spends on each image.

    The control of a learned perturbation: same root mean square per image, no knowledge. Seed and
    image alone decide the signs, so order, batch and a resumed run change nothing.
    """

    ansm: Callable[[Tensor], Tensor]
    seed: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> the same."""
        with torch.no_grad():
            spent = add(pixels, self.ansm(pixels)) - pixels
        energy = spent.square().mean((1, 2, 3), keepdim=True).sqrt()
        return add(pixels, energy * self._signs(pixels))

    def _signs(self, pixels: Tensor) -> Tensor:
        drawn = [
            torch.randint(2, image.shape, generator=image_generator(image, self.seed))
            for image in pixels
        ]
        return (2 * torch.stack(drawn) - 1).to(pixels)


@dataclass(frozen=True)
class Jpeg:
    """Compress to a real JPEG file and back, by Pillow: 4:2:0, 8 bit."""

    quality: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> the same."""
        images = pixels.detach().permute(0, 2, 3, 1).mul(255).round().to(torch.uint8).cpu().numpy()
        decoded = np.stack([through_file(image, "JPEG", self.quality) for image in images])
        restored = torch.from_numpy(decoded).permute(0, 3, 1, 2).to(pixels) / 255
        return straight_through(pixels, restored)


@dataclass(frozen=True)
class BitDepth:
    """Keep so many bits of each colour channel (feature squeezing, Xu et al., NDSS 2018)."""

    bits: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> the same."""
        levels = 2**self.bits - 1
        return straight_through(pixels, (pixels.detach() * levels).round() / levels)


@dataclass(frozen=True)
class Median:
    """Median over a square of pixels, per colour channel."""

    kernel: int

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> the same."""
        filtered: Tensor = median_blur(pixels, self.kernel)
        return filtered


@dataclass(frozen=True)
class Gaussian:
    """Gaussian blur with the given standard deviation in pixels."""

    sigma: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> the same."""
        side = 2 * int(3 * self.sigma + 1) + 1
        filtered: Tensor = gaussian_blur2d(pixels, side, (self.sigma, self.sigma))
        return filtered.clamp(0, 1)


def straight_through(pixels: Tensor, changed: Tensor) -> Tensor:
    """Return `changed`, with the gradient of the identity where one is wanted."""
    if not (torch.is_grad_enabled() and pixels.requires_grad):
        return changed
    return pixels + (changed - pixels).detach()


def image_generator(image: Tensor, seed: int) -> torch.Generator:
    """Return randomness that seed and image `(3, H, W)` alone decide."""
    levels = image.detach().mul(255).round().to(torch.uint8).cpu().numpy()
    return torch.Generator().manual_seed(seed ^ zlib.crc32(levels.tobytes()))


def fit_identity(fitting: Fitting) -> Baseline:
    """Return the baseline that changes nothing."""
    return _fixed("identity", "identity", Identity())


def fit_random(fitting: Fitting) -> Baseline:
    """Return random signs with the energy of the ANSM."""
    signs = RandomSigns(fitting.defended.ansm, fitting.draw_seed())
    return _fixed("random", "random signs, energy of the ANSM", signs)


def fit_jpeg(fitting: Fitting) -> Baseline:
    """Search the quality of JPEG."""
    candidates = [filter_candidate(f"JPEG quality {q}", Jpeg(q)) for q in QUALITIES]
    return best_of("jpeg", candidates, fitting)


def fit_bits(fitting: Fitting) -> Baseline:
    """Search the number of bits."""
    candidates = [filter_candidate(f"bit depth {b}", BitDepth(b)) for b in DEPTHS]
    return best_of("bits", candidates, fitting)


def fit_median(fitting: Fitting) -> Baseline:
    """Search the side of the median."""
    candidates = [filter_candidate(f"median {k}x{k}", Median(k)) for k in KERNELS]
    return best_of("median", candidates, fitting)


def fit_gaussian(fitting: Fitting) -> Baseline:
    """Search the width of the blur."""
    candidates = [filter_candidate(f"Gaussian sigma {s:g}", Gaussian(s)) for s in SIGMAS]
    return best_of("gaussian", candidates, fitting)


def _fixed(name: str, label: str, change: Filter) -> Baseline:
    return Baseline(name=name, label=label, wrap=filtering(change), filter=change)
