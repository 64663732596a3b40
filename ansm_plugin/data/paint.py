"""Pictures of masks on photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.pixels import Pixels, Selection
from ansm_plugin.system.files import write_whole

_TINT = np.array([255, 0, 60], np.uint8)
_OUTLINE = np.array([255, 225, 0], np.uint8)
_BAND = 1024  # rows that are painted at once, so that a large photograph needs no large copies


def outline(mask_HW: Selection, width: int) -> Selection:
    """Return the inner edge of a mask, `width` pixels wide; the picture's border is no edge."""
    inner = mask_HW
    for _ in range(width):
        eroded = inner.copy()
        eroded[1:] &= inner[:-1]
        eroded[:-1] &= inner[1:]
        eroded[:, 1:] &= inner[:, :-1]
        eroded[:, :-1] &= inner[:, 1:]
        inner = eroded
    edge: Selection = mask_HW & ~inner
    return edge


def overlay(pixels_HW3: Pixels, mask_HW: Selection) -> Pixels:
    """Return the photograph with the masked region tinted and outlined."""
    edge_HW = outline(mask_HW, min(8, max(1, max(mask_HW.shape) // 400)))
    painted = pixels_HW3.copy()
    for top in range(0, len(painted), _BAND):
        band, inside = painted[top : top + _BAND], mask_HW[top : top + _BAND]
        band[inside] = band[inside] // 2 + _TINT // 2
        band[edge_HW[top : top + _BAND]] = _OUTLINE
    return painted


def save_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write `(H, W)` or `(H, W, 3)` uint8 as PNG; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    # Level 1: a photograph of 100 megapixels in seconds, and hardly larger than at level 6.
    return write_whole(
        path, lambda stream: Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    )
