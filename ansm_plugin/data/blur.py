"""Gaussian blur of arrays."""

from __future__ import annotations

import numpy as np

from ansm_plugin.data.pixels import Floats


def blurred(pixels: Floats, sigma: float) -> Floats:
    """Blur `(H, W, C)` along both axes with edge padding, without rounding to 8 bit.

    `sigma` is the standard deviation in pixels; the kernel ends at three of them.
    """
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
