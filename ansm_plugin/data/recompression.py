"""Was a picture a JPEG file of lower quality before it became this file?

One compression leaves fewer coefficients of a large level than of a small one. A second one with
finer steps, or none, keeps gaps between the multiples of the first steps (Lukas and Fridrich 2003;
Popescu and Farid 2004). Only that is looked for: what was compressed more finely before, on another
grid of blocks, or before it was resized, has no gaps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from ansm_plugin.data.pixels import Plane

BLOCK = 8
MOST_GAPS = 1  # of a picture that was compressed once
# Row and column of the modes that most photographs have energy in.
_MODES = ((0, 1), (1, 0), (2, 0), (1, 1), (0, 2), (0, 3), (1, 2), (2, 1), (3, 0))
_HIGHEST = 40  # level that is looked at
_LEAST = 30  # coefficients of a level that a gap lies below
_DEPTH = 0.3  # share of them that a gap has at most
_FLAT = 0.5  # grey levels; below it a block has no texture
_MOST_FLAT = 0.5  # share of flat blocks; beyond it a picture is a drawing, whose levels have gaps


def was_coarser(luma_HW: Plane, steps: NDArray[np.int64] | None) -> bool | None:
    """Return whether a picture was a JPEG file of lower quality before; None where it is unknown.

    Measured (tests/benchmarks/test_file_history.py): true of 1 in 175 camera files and of none of
    175 files saved once at quality 95. True of nearly all photographs saved at 70 and then at 85,
    of four in ten saved at 90 and then at 95, and of none saved at 90 and then at 80.

    Args:
        luma_HW: grey levels `(H, W)` in [0, 255], from a corner of the grid of blocks on.
        steps: of the file's luma table, `(64,)` in rows; None where no JPEG file holds it.
    """
    coefficients = _coefficients(luma_HW)
    strongest = np.abs(coefficients[:, 1:]).max(1)  # not the mean
    if len(coefficients) == 0 or (strongest < _FLAT).mean() > _MOST_FLAT:
        return None
    found = 0
    for row, column in _MODES:
        place = BLOCK * row + column
        step = 1 if steps is None else int(steps[place])
        found += _gaps(coefficients[:, place] / step)
    return found > MOST_GAPS


def _coefficients(luma_HW: Plane) -> NDArray[np.float32]:
    """Return the DCT coefficients of each whole block, `(blocks, 64)`."""
    height, width = (side // BLOCK * BLOCK for side in luma_HW.shape)
    grid = luma_HW[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    blocks = grid.transpose(0, 2, 1, 3).reshape(-1, BLOCK, BLOCK)
    found: NDArray[np.float32] = fft.dctn(blocks, axes=(1, 2), norm="ortho")
    return found.reshape(-1, BLOCK * BLOCK)


def _gaps(levels: NDArray[np.floating]) -> int:
    """Return how many levels from 1 on are much rarer than some higher one."""
    sizes = np.abs(np.rint(levels)).astype(np.int64)
    counts = np.bincount(sizes[sizes <= _HIGHEST], minlength=_HIGHEST + 1)[1:]
    higher = np.maximum.accumulate(counts[::-1])[::-1][1:]  # most of any higher level
    return int(((higher >= _LEAST) & (counts[:-1] < _DEPTH * higher)).sum())
