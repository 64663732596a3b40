"""Baselines that move the image and move the mask back: they wrap the forward pass."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.attacks import Forward
from ansm_plugin.baselines.base import Baseline, Candidate, Fitting, best_of
from ansm_plugin.baselines.filters import image_generator

FACTORS = (1.05, 1.1, 1.25)
REACHES = (1, 2, 4, 8)


@dataclass(frozen=True)
class ResizePad:
    """Enlarge each image by a random factor and pad it at random (Xie et al., ICLR 2018).

    The mask is cut out and resized back. Seed and image alone decide the drawing.
    """

    largest: float
    seed: int

    def __call__(self, forward: Forward) -> Forward:
        """Return the defended forward pass."""

        def defended(pixels: Tensor) -> Tensor:
            size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
            canvas = (ceil(self.largest * size[0]), ceil(self.largest * size[1]))
            boxes = [self._draw(image, size, canvas) for image in pixels]
            placed = [_place(i, b, canvas) for i, b in zip(pixels, boxes, strict=True)]
            logits = forward(torch.stack(placed))
            return torch.stack([_cut(z, b, size) for z, b in zip(logits, boxes, strict=True)])

        return defended

    def _draw(
        self, image: Tensor, size: tuple[int, int], canvas: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        """Return top, left, height and width of the image on the canvas."""
        share, top, left = torch.rand(3, generator=image_generator(image, self.seed)).tolist()
        height, width = (n + round(share * (c - n)) for n, c in zip(size, canvas, strict=True))
        return round(top * (canvas[0] - height)), round(left * (canvas[1] - width)), height, width


@dataclass(frozen=True)
class ShiftAverage:
    """Average the logits of the image and of three copies shifted by `reach` pixels.

    Stochastic resonance without its randomness: noise made for one phase of the localizer's grid
    does not fit the others. Four passes.
    """

    reach: int

    def __call__(self, forward: Forward) -> Forward:
        """Return the defended forward pass."""
        shifts = [(y, x) for y in (0, self.reach) for x in (0, self.reach)]

        def defended(pixels: Tensor) -> Tensor:
            views = []
            for y, x in shifts:
                moved = functional.pad(pixels, (x, 0, y, 0), mode="replicate")
                views.append(forward(moved)[..., y:, x:])
            return torch.stack(views).mean(0)

        return defended


def fit_resize_pad(fitting: Fitting) -> Baseline:
    """Search the largest factor."""
    seed = fitting.draw_seed()
    candidates = [Candidate(f"resize-pad up to {f:g}", ResizePad(f, seed)) for f in FACTORS]
    return best_of("resize-pad", candidates, fitting)


def fit_shift(fitting: Fitting) -> Baseline:
    """Search the reach of the shifts."""
    candidates = [Candidate(f"average of 4 shifts by {r} px", ShiftAverage(r)) for r in REACHES]
    return best_of("shift", candidates, fitting)


def _place(image: Tensor, box: tuple[int, int, int, int], canvas: tuple[int, int]) -> Tensor:
    top, left, height, width = box
    grown = functional.interpolate(image[None], (height, width), mode="bilinear")[0]
    below, right = canvas[0] - height - top, canvas[1] - width - left
    return functional.pad(grown, (left, right, top, below))


def _cut(logits: Tensor, box: tuple[int, int, int, int], size: tuple[int, int]) -> Tensor:
    top, left, height, width = box
    inside = logits[None, :, top : top + height, left : left + width]
    return functional.interpolate(inside, size, mode="bilinear")[0]
