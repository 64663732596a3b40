"""Photographs free of terms, in one folder: those inside our dependencies, and a folder of others.

    PYTHONPATH=recipes python -m lab.free PHOTOGRAPHS OUTPUT

Forgeries are cut in proportion to area, so what is written decides the mixture: half-size copies of
all PHOTOGRAPHS, every third of them as it is, and the built-in ones of the train split several
times, with half-size copies and procedural scenes. The built-in test photographs are not among
them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ansm_plugin.data.pairs import list_images
from ansm_plugin.data.photographs import halved, packaged, procedural
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.read import read_image

_TIMES = 3  # of each built-in photograph: nine small ones beside hundreds
_SMALLEST = 128  # of a half-size copy; thumbnails are left out


def main(photographs: Path, output: Path) -> None:
    """Write the folder; a file that is there already is written again, the same."""
    output.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(list_images(photographs)):
        pixels = read_image(file)
        if min(pixels.shape[:2]) >= 2 * _SMALLEST:
            _save(halved(pixels), output / f"other-{number:04d}-half.png")
        if number % 3 == 0:
            _save(pixels, output / f"other-{number:04d}.png")
    for number, pixels in enumerate(packaged("train")):
        for copy in range(_TIMES):
            _save(pixels, output / f"own-{number}-{copy}.png")
        _save(halved(pixels), output / f"own-{number}-half.png")
    for number, pixels in enumerate(procedural(120, seed=1)):
        _save(pixels, output / f"scene-{number:03d}.png")


def _save(pixels: Pixels, file: Path) -> None:
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, compress_level=1)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
