"""Shapes that are drawn, where nothing outlines a region: blobs, ellipses, rectangles."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ansm_plugin.data.pixels import Mask, Plane, Rng


def region(size: int, area: tuple[float, float], rng: Rng) -> Mask:
    """Return a random blob, ellipse or polygon-like mask `(size, size)` in {0, 1}."""
    share = rng.uniform(*area)
    if rng.random() < 0.6:
        cells = int(rng.integers(3, 6))
        coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        height = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    else:
        height = -_squircle(size, rng)
    mask: Mask = (height > np.quantile(height, 1 - share)).astype(np.uint8)
    return mask


def _squircle(size: int, rng: Rng) -> Plane:
    """Distance to a random rotated ellipse (exponent 2) to rectangle (exponent 8)."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    centre = rng.uniform(0.25, 0.75, 2)
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.5, 2.0)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    power = rng.choice([2, 8])
    distance: Plane = (np.abs(u * ratio) ** power + np.abs(v / ratio) ** power) ** (1 / power)
    return distance
