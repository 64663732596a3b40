"""Pixels through a codec and other changes of a file, in memory."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from ansm_plugin.data.pixels import Floats


def jpeg(pixels: Floats, quality: int) -> Floats:
    """Compress and read back `(H, W, 3)` pixels in [0, 255]."""
    buffer = io.BytesIO()
    as_image(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer), np.float32)


def as_image(pixels: Floats) -> Image.Image:
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


def blurred(pixels: Floats, sigma: float) -> Floats:
    """Gaussian blur along both axes with edge padding, without rounding to 8 bit."""
    radius = max(1, int(3 * sigma + 0.5))
    offsets = np.arange(-radius, radius + 1)
    kernel = np.exp(-(offsets**2) / (2 * sigma**2)).astype(np.float32)
    kernel /= kernel.sum()
    for axis in (0, 1):
        padding = [(radius, radius) if a == axis else (0, 0) for a in range(3)]
        padded = np.pad(pixels, padding, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, len(kernel), axis=axis)
        pixels = windows @ kernel
    return pixels
