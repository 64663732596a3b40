"""Quantisation tables of JPEG files: how strongly a file was compressed, and by which scale.

Most programs scale the tables of the standard (ITU-T T.81, annex K) as the Independent JPEG Group's
library does: a quality of 1 to 100. Cameras and Photoshop often have tables of their own.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Table = NDArray[np.int64]  # (64,) steps, in rows from the mean on

_LUMA = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMA_CORNER = ((17, 18, 24, 47), (18, 21, 26, 66), (24, 26, 56, 99), (47, 66, 99, 99))
_SAMPLINGS = {
    (1, 1): "4:4:4", (2, 1): "4:2:2", (2, 2): "4:2:0", (1, 2): "4:4:0", (4, 1): "4:1:1",
}  # fmt: skip


class Quantisation(NamedTuple):
    """What the tables of a JPEG file say.

    Attributes:
        quality: 1 to 100; of tables that are not standard, the quality that is as strong.
        is_standard: whether the tables are those of that quality.
        luma: steps of the luma table, `(64,)`, in rows.
    """

    quality: int
    is_standard: bool
    luma: Table

    @property
    def words(self) -> str:
        """Return one line: "standard tables of quality 90, luma steps 2 to 24"."""
        steps = f"luma steps {self.luma.min()} to {self.luma.max()}"
        if self.is_standard:
            return f"standard tables of quality {self.quality}, {steps}"
        return f"not standard tables, about as strong as quality {self.quality}, {steps}"


def quantisation_of(image: Image.Image) -> Quantisation | None:
    """Return what the quantisation tables of an opened file say; None where it has none."""
    tables: Mapping[int, Sequence[int]] = getattr(image, "quantization", None) or {}
    steps = [np.asarray(table, np.int64) for _, table in sorted(tables.items())]
    if not steps or any(len(table) != 64 for table in steps):
        return None
    luma, *chroma = steps
    quality = min(range(1, 101), key=lambda q: (abs(int((standard(q)[0] - luma).sum())), q))
    for candidate in range(100, 0, -1):
        expected = standard(candidate)
        if (luma == expected[0]).all() and all((c == expected[1]).all() for c in chroma):
            return Quantisation(candidate, True, luma)
    return Quantisation(quality, False, luma)


@functools.cache
def standard(quality: int) -> tuple[Table, Table]:
    """Return the standard's tables for luma and chroma, `(64,)` each, at a quality of 1 to 100."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    chroma = np.full((8, 8), 99)
    chroma[:4, :4] = _CHROMA_CORNER
    luma, colour = (
        ((np.asarray(base, np.int64).ravel() * scale + 50) // 100).clip(1, 255)
        for base in (_LUMA, chroma)
    )
    return luma, colour


def subsampling_of(image: Image.Image) -> str | None:
    """Return how colour is sampled in a JPEG file, "4:2:0"; None where there is no colour."""
    layers: Sequence[Sequence[int]] = getattr(image, "layer", None) or ()
    if len(layers) != 3:
        return None
    (_, *first, _), (_, *second, _) = layers[:2]
    if not all(second) or any(a % b for a, b in zip(first, second, strict=True)):
        return "unusual"
    factors = (first[0] // second[0], first[1] // second[1])
    return _SAMPLINGS.get(factors, f"luma {factors[0]}x{factors[1]}")
