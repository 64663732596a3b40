"""Pictures of masks on photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ansm_plugin.data.pixels import Pixels, Selection
from ansm_plugin.data.png import write_png
from ansm_plugin.system.files import write_whole

_TINT = np.array([255, 0, 255], np.uint8)
# From outside in: one of the three shows on whatever the photograph has there, red or sky.
_RINGS = np.array([[0, 229, 255], [16, 0, 32], [255, 250, 255]], np.uint8)
_BAND = 128  # rows that are painted at once, so that a large photograph needs no large copies


def outline(mask_HW: Selection, width: int) -> Selection:
    """Return the inner edge of a mask, `width` pixels wide; the picture's border is no edge."""
    edge: Selection = mask_HW & ~_eroded(mask_HW, width)
    return edge


def overlay(pixels_HW3: Pixels, mask_HW: Selection) -> Pixels:
    """Return the photograph with the masked region tinted magenta and outlined.

    The outline is cyan, dark and light, from outside in, and lies inside the region.
    """
    painted = pixels_HW3.copy()
    box = _box(mask_HW)
    inside, region = mask_HW[box], painted[box]
    for top in range(0, len(region), _BAND):
        band, chosen = region[top : top + _BAND], inside[top : top + _BAND]
        band[chosen] = band[chosen] // 2 + _TINT // 2
    for colour, width in zip(_RINGS, _ring_widths(max(mask_HW.shape)), strict=True):
        inner = _eroded(inside, width)
        region[inside & ~inner] = colour
        inside = inner
    return painted


def _ring_widths(longest_side: int) -> tuple[int, int, int]:
    """Return how many pixels wide each ring is: together at most 8."""
    width = min(4, max(1, longest_side // 250))
    return width, (width + 1) // 2, (width + 1) // 2


def _box(mask_HW: Selection) -> tuple[slice, slice]:
    """Return the smallest part of a picture that has the mask, and a pixel around it."""
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    if rows.size == 0:
        return slice(0), slice(0)
    return (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
    )


def _eroded(mask_HW: Selection, width: int) -> Selection:
    """Return a mask without its inner edge, `width` pixels wide."""
    inner = mask_HW
    for _ in range(width):
        eroded = inner.copy()
        eroded[1:] &= inner[:-1]
        eroded[:-1] &= inner[1:]
        eroded[:, 1:] &= inner[:, :-1]
        eroded[:, :-1] &= inner[:, 1:]
        inner = eroded
    return inner


def save_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write `(H, W)` or `(H, W, 3)` uint8 as PNG; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    return write_whole(path, lambda stream: write_png(stream, pixels))
