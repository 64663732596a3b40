"""Was a picture enlarged? Interpolated pixels depend on their neighbours in a period.

The mean size of second differences along an axis has a peak in its spectrum then (Gallagher 2005).
A peak counts where both axes have it, as where a picture is resized in its proportions. Multiples
of 1/16 are left out: JPEG's blocks and the mosaic of colour filters have peaks there. So factors of
2 are not seen, and little of pictures that were reduced.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ansm_plugin.data.pixels import Plane

SMALLEST = 256  # pixels of a side; a shorter one has too few periods
PEAK = 6.0  # times the median of its surroundings
_STRONGEST = 20  # grey levels; stronger edges count as this, or one edge would decide
_SLOWEST = 0.06  # periods per pixel; below it lies what the picture shows
_AROUND = 31  # frequencies that a peak is compared with


def was_enlarged(luma_HW: Plane) -> bool | None:
    """Return whether a picture was probably enlarged; None where it is too small to tell.

    Measured (tests/benchmarks/test_file_history.py): true of 2 in 175 camera files (one is of a
    thermal camera, which enlarges) and of none of 175 scans. True of nearly all photographs
    enlarged by 1.1 to 1.5 that were not compressed; of about three quarters at JPEG 95, and of
    about two fifths at JPEG 85.

    Args:
        luma_HW: grey levels `(H, W)` in [0, 255]; a square of the shorter side is looked at.
    """
    side = min(luma_HW.shape)
    if side < SMALLEST:
        return None
    square = luma_HW[:side, :side]
    down, across = (_prominence(square, axis) for axis in (0, 1))
    both = np.minimum(*(ndimage.maximum_filter1d(p, 3) for p in (down, across)))
    frequency = np.arange(len(both)) / (side - 2)
    return bool((both[_is_telling(frequency)] > PEAK).any())


def _prominence(square_NN: Plane, axis: int) -> NDArray[np.float64]:
    """Return how far each frequency of the second differences stands out of its surroundings."""
    sizes = np.abs(np.diff(square_NN, 2, axis=axis)).clip(max=_STRONGEST)
    profile = sizes.mean(1 - axis, dtype=np.float64)
    spectrum = np.abs(np.fft.rfft((profile - profile.mean()) * np.hanning(len(profile))))
    around = ndimage.median_filter(spectrum, size=_AROUND, mode="reflect")
    found: NDArray[np.float64] = spectrum / (around + 1e-9)
    return found


def _is_telling(frequency: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which frequencies are neither slow nor those of blocks and mosaics."""
    telling = frequency > _SLOWEST
    for period, width in ((8, 0.012), (16, 0.006)):
        distance = np.abs(frequency * period - np.rint(frequency * period)) / period
        telling &= distance > width
    return telling
