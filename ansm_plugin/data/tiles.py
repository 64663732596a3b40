"""Large images in overlapping tiles: where they lie, and functions that see one at a time.

Shape suffixes: B batch, C channels, H height, W width of the image; h, w of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ansm_plugin.errors import ConfigError

TILE = 1024
# Narrow enough that square tiles of this side compute less than 1.25 times the pixels of the whole.
OVERLAP = 96
# Tiles start at multiples of this (and of the localizer's stride), so that neither the strides of
# the networks nor JPEG's grid of 8 pixels lie differently in a tile than in the whole photograph.
_GRID = 32


class Span(NamedTuple):
    """Where a tile lies along one axis, and the weight of each of its pixels."""

    start: int
    stop: int
    weight: NDArray[np.float32]

    @property
    def core(self) -> slice:
        """The pixels of the image that belong to this tile alone: cores cover each pixel once."""
        inside = np.flatnonzero(self.weight > 0.5)
        return slice(self.start + int(inside[0]), self.start + int(inside[-1]) + 1)


class Window(NamedTuple):
    """A tile of an image."""

    rows: Span
    columns: Span

    def of(self, image: Tensor) -> Tensor:
        """Return the tile. Shape: `(..., H, W)` -> `(..., h, w)`, a view."""
        (top, bottom, _), (left, right, _) = self
        return image[..., top:bottom, left:right]

    def weight(self, like: Tensor) -> Tensor:
        """Return the weight of each pixel, `(h, w)` on the device of `like`."""
        return torch.from_numpy(self.rows.weight[:, None] * self.columns.weight).to(like.device)

    def copy_core(self, tile: Tensor, image: Tensor) -> None:
        """Write the pixels that belong to this tile alone into the image."""
        rows, columns = self.rows.core, self.columns.core
        top, left = self.rows.start, self.columns.start
        image[..., rows, columns] = tile[
            ..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]


@dataclass(frozen=True)
class Tiling:
    """How images are cut that are larger than a tile; smaller ones are never touched.

    Attributes:
        tile: longest side that is worked on at once, rounded up to the grid of tiles.
        stride: tiles start at multiples of this.
        overlap: pixels that neighbouring tiles share; at most half a tile.
    """

    tile: int = TILE
    stride: int = 1
    overlap: int = OVERLAP

    def __post_init__(self) -> None:
        """Raise ConfigError where tile and overlap do not fit each other."""
        if self.overlap < 1 or self.tile < 2 * self.overlap:
            raise ConfigError(
                f"tile is {self.tile} and overlap {self.overlap}; a tile must be at least two "
                f"overlaps ({2 * self.overlap}), an overlap at least 1."
            )

    def windows(self, height: int, width: int) -> list[Window]:
        """Return the tiles of an image, row by row; one where it fits."""
        grid = math.lcm(_GRID, self.stride)
        rows, columns = (spans(n, self.tile, self.overlap, grid) for n in (height, width))
        return [Window(row, column) for row in rows for column in columns]

    def fits(self, image: Tensor) -> bool:
        """Return whether an image `(..., H, W)` is worked on as a whole."""
        return len(self.windows(*image.shape[-2:])) == 1

    def blended(self, function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """Return `function` tile by tile: what tiles say of the same pixel is blended linearly.

        Shape of both: `(B, C, H, W)` -> `(B, K, H, W)`, any C and K.
        """

        def whole(images: Tensor) -> Tensor:
            if self.fits(images):
                return function(images)
            out: Tensor | None = None
            for window in self.windows(*images.shape[-2:]):
                part = function(window.of(images))
                if out is None:
                    out = part.new_zeros(*part.shape[:2], *images.shape[-2:])
                window.of(out).add_(part * window.weight(part))
            assert out is not None
            return out

        return whole

    def stitched(self, function: Callable[..., Tensor], *images: Tensor) -> Tensor:
        """Return `function(*images)` tile by tile: each pixel is that of one tile, nothing blended.

        A tile sees its surroundings; of what it returns, the part that overlaps is cut in the
        middle. Shape: every `(B, C, H, W)` -> that of the first.
        """
        if self.fits(images[0]):
            return function(*images)
        out = torch.empty_like(images[0])
        for window in self.windows(*out.shape[-2:]):
            window.copy_core(function(*map(window.of, images)), out)
        return out

    def fullest(self, masks: Tensor) -> tuple[slice, slice]:
        """Return rows and columns of a tile with the most forged pixels of `(B, 1, H, W)`.

        All of the image where it fits; never smaller than image or tile.
        """
        height, width = masks.shape[-2:]
        windows = self.windows(height, width)
        best = max(windows, key=lambda window: float(window.of(masks).sum()))
        tall, wide = (max(w[axis].stop - w[axis].start for w in windows) for axis in (0, 1))
        top, left = min(best.rows.start, height - tall), min(best.columns.start, width - wide)
        return slice(top, top + tall), slice(left, left + wide)


def spans(length: int, tile: int, overlap: int, grid: int) -> list[Span]:
    """Cut `length` pixels into overlapping tiles whose weights add up to 1 at every pixel.

    All tiles start at multiples of `grid`; neighbours share `overlap` pixels, up to rounding. They
    are as many as tiles of side `tile` would be, and about equally long: a sliver at the end would
    see little around it. In the overlap the outer quarter of each is dropped and the rest is
    blended linearly.
    """
    shared = math.ceil(overlap / grid) * grid
    side = max(2 * shared, math.ceil(tile / grid) * grid)
    if length <= side:
        return [Span(0, length, np.ones(length, np.float32))]
    count = math.ceil((length - shared) / (side - shared))
    step = max(shared, math.ceil((length - shared) / count / grid) * grid)
    ramp = _ramp(shared)
    made = []
    for start in range(0, length - shared, step):
        stop = min(start + step + shared, length)
        weight = np.ones(stop - start, np.float32)
        if start > 0:
            weight[:shared] = ramp
        if stop < length:
            weight[-shared:] = 1 - ramp
        made.append(Span(start, stop, weight))
    return made


def _ramp(length: int) -> NDArray[np.float32]:
    """Rise from 0 to 1 over the middle half of `length` pixels, symmetrically."""
    position = (np.arange(length) + 0.5) / length
    return (2 * position - 0.5).clip(0, 1).astype(np.float32)
