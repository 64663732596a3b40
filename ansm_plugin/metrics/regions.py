"""What a map of tamper probabilities says as a whole: its marked regions and one score.

Shape suffixes: H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

MOST_REGIONS = 50  # that are told of one by one
SMALLEST_SHARE = 1e-4  # of the photograph; what is smaller is counted alone
_SMALLEST_PIXELS = 16
TOP_SHARE = 0.005  # of the pixels, whose mean is the score
_BAND = 64  # rows that are summed at once: doubles of all would take four times the map


@dataclass(frozen=True, kw_only=True)
class Region:
    """One connected part of a mask; pixels that touch at a corner belong together.

    Attributes:
        x: left edge of its box, in pixels.
        y: upper edge of its box.
        width: of its box.
        height: of its box.
        area: marked pixels in it.
        mean: mean probability over them.
        highest: largest probability of them.
    """

    x: int
    y: int
    width: int
    height: int
    area: int
    mean: float
    highest: float


class Regions(NamedTuple):
    """The parts of a mask, largest first.

    Attributes:
        listed: those that are large enough, at most `MOST_REGIONS`.
        others: number of those that are not listed.
    """

    listed: list[Region]
    others: int


def regions_of(probabilities_HW: NDArray[np.float32], mask_HW: NDArray[np.bool_]) -> Regions:
    """Return the connected parts of a mask.

    Args:
        probabilities_HW: `(H, W)` in [0, 1].
        mask_HW: `(H, W)`, which pixels are marked.
    """
    labels_HW, count = ndimage.label(mask_HW, structure=np.ones((3, 3), bool), output=np.int32)
    areas, sums = _totals(labels_HW, probabilities_HW, count)
    smallest = max(_SMALLEST_PIXELS, SMALLEST_SHARE * mask_HW.size)
    order = np.argsort(-areas, kind="stable")
    chosen = [int(i) for i in order[:MOST_REGIONS] if areas[i] >= smallest]
    boxes = ndimage.find_objects(labels_HW)
    listed = []
    for i in chosen:
        rows, columns = boxes[i]
        inside = labels_HW[rows, columns] == i + 1
        listed.append(
            Region(
                x=columns.start,
                y=rows.start,
                width=columns.stop - columns.start,
                height=rows.stop - rows.start,
                area=int(areas[i]),
                mean=float(sums[i] / areas[i]),
                highest=float(probabilities_HW[rows, columns].max(where=inside, initial=0)),
            )
        )
    return Regions(listed, count - len(listed))


def photograph_score(levels_HW: NDArray[np.uint16]) -> float:
    """Return the mean probability of the most suspicious 0.5 % of the pixels, in [0, 1].

    It sorts photographs; it is no probability that one is forged. What covers less than 0.5 % of a
    photograph is diluted by its surroundings.

    Args:
        levels_HW: `(H, W)`, probability 1 is 65535.
    """
    counts = np.zeros(2**16, np.int64)
    for top in range(0, len(levels_HW), _BAND):
        counts += np.bincount(levels_HW[top : top + _BAND].ravel(), minlength=2**16)
    wanted = max(1, round(TOP_SHARE * levels_HW.size))
    above = np.cumsum(counts[::-1]) - counts[::-1]  # pixels of higher levels, from the highest on
    used = np.clip(wanted - above, 0, counts[::-1])
    levels = np.arange(2**16 - 1, -1, -1)
    return float((used * levels).sum() / wanted / (2**16 - 1))


def _totals(
    labels_HW: NDArray[np.int32], probabilities_HW: NDArray[np.float32], count: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return area and sum of the probabilities of each label from 1 on."""
    areas, sums = np.zeros(count + 1, np.int64), np.zeros(count + 1)
    for top in range(0, len(labels_HW), _BAND):
        labels = labels_HW[top : top + _BAND].ravel()
        weights = probabilities_HW[top : top + _BAND].ravel()
        areas += np.bincount(labels, minlength=count + 1)
        sums += np.bincount(labels, weights, minlength=count + 1)
    return areas[1:], sums[1:]
