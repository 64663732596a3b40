"""Maps of tamper probabilities as files: 16-bit grey PNG, level 65535 for probability 1.

Shape suffixes: H height, W width.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.png import write_png
from ansm_plugin.system.files import write_whole

LEVELS = 65535  # level of probability 1
_BAND = 64  # rows that are rounded at once: a copy in floats takes as much as the map


def to_levels(probabilities_HW: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return probabilities `(H, W)` in [0, 1] as levels in [0, 65535], rounded."""
    levels_HW = np.empty(probabilities_HW.shape, np.uint16)
    for top in range(0, len(levels_HW), _BAND):
        rows = slice(top, top + _BAND)
        levels_HW[rows] = np.rint(probabilities_HW[rows] * LEVELS)
    return levels_HW


def save_probabilities(path: Path, levels_HW: NDArray[np.uint16]) -> Path:
    """Write levels `(H, W)` as a 16-bit PNG; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    return write_whole(path, lambda stream: write_png(stream, levels_HW))


def read_probabilities(path: Path) -> NDArray[np.float32]:
    """Return what `save_probabilities` wrote as probabilities `(H, W)` in [0, 1]."""
    with Image.open(path) as image:
        return np.asarray(image, np.float32) / np.float32(LEVELS)
