"""Baseline `wiener`: one gain per frequency, fitted on pairs of original and attacked images.

The cheapest learned rival (Kapoor et al., arXiv 2012.01558). The gain is the least-squares linear
filter from attacked to original; it is cut to a small kernel, which smooths the estimate of few
images and serves images of any size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.baselines.base import Baseline, Examples, Fitting, best_of, filter_candidate

RADIUS = 15  # pixels on each side of the kernel's centre
SHARES = (0.25, 0.5, 0.75, 1.0)
_BATCH = 16


@dataclass(frozen=True)
class Wiener:
    """Filter by a kernel `(3, K, K)`, one per channel, and go `share` of the way."""

    kernel: Tensor
    share: float

    def __call__(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> the same."""
        radius = self.kernel.shape[-1] // 2
        # By its edge, not by reflection: an image may be smaller than the kernel.
        padded = functional.pad(pixels, (radius,) * 4, mode="replicate")
        # Zeros up to a multiple of 32: a transform of a prime length is several times slower.
        size = (_round_up(padded.shape[-2]), _round_up(padded.shape[-1]))
        gain = torch.fft.rfft2(self.kernel.to(pixels), s=size)
        filtered = torch.fft.irfft2(torch.fft.rfft2(padded, s=size) * gain, s=size)
        # The kernel's centre is at `radius`, so the result lags by as much again.
        bottom, right = padded.shape[-2:]
        filtered = filtered[..., 2 * radius : bottom, 2 * radius : right]
        return torch.lerp(pixels, filtered, self.share).clamp(0, 1)


def wiener_kernel(examples: Examples) -> Tensor:
    """Return the kernel `(3, K, K)` that best maps attacked to original images, summing to 1.

    Least squares per channel and frequency over all pairs: gain = sum Re(X conj(Y)) / sum |Y|^2
    with originals X and attacked Y. Its sum of 1 keeps flat areas.
    """
    size = (int(examples.masks.shape[-2]), int(examples.masks.shape[-1]))
    cross, power = torch.zeros(()), torch.zeros(())
    for start in range(0, len(examples.masks), _BATCH):
        part = examples.rows(slice(start, start + _BATCH))
        x, y = (torch.fft.rfft2(t.double()) for t in (part.originals, part.attacked))
        cross = cross + (x * y.conj()).real.sum(0)
        power = power + y.abs().square().sum(0)
    gain = cross / power.clamp_min(1e-12)
    response = torch.fft.fftshift(torch.fft.irfft2(gain, s=size), dim=(-2, -1))
    return _cut(response, size)


def fit_wiener(fitting: Fitting) -> Baseline:
    """Fit the gain on the training pairs and search how far to follow it."""
    kernel = wiener_kernel(fitting.training)
    candidates = [
        filter_candidate(f"Wiener filter, share {s:g}", Wiener(kernel, s)) for s in SHARES
    ]
    return best_of("wiener", candidates, fitting)


def _round_up(length: int) -> int:
    return length + -length % 32


def _cut(response: Tensor, size: tuple[int, int]) -> Tensor:
    """Cut a centred impulse response to the kernel's window and make it sum to 1."""
    top, left = size[0] // 2, size[1] // 2
    radius = min(RADIUS, (min(size) - 1) // 2)
    kernel = response[:, top - radius : top + radius + 1, left - radius : left + radius + 1]
    window = torch.hann_window(2 * radius + 3, periodic=False).to(response)[1:-1]
    kernel = kernel * window[:, None] * window[None]
    return (kernel / kernel.sum((1, 2), keepdim=True)).float()
