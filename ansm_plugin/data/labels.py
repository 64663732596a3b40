"""Label maps that lie beside photographs: the outlines of things in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ansm_plugin.data.outlines import Outline, labelled
from ansm_plugin.data.pairs import list_images
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.errors import ImageError
from ansm_plugin.system.progress import Progress, silent


def known_outlines(
    photographs: Sequence[Pixels],
    files: Sequence[Path],
    folder: Path,
    progress: Progress = silent,
) -> dict[int, list[Outline]]:
    """Return outlines of the photographs that have a label map, by the photograph's number.

    Args:
        photographs: `(H, W, 3)` uint8 arrays.
        files: their paths, in the same order.
        folder: holds label maps of the same stems, each of its photograph's size: 0 is no thing,
            every other value is one.
        progress: called with "reading label maps", finished and all photographs, and no logs.

    Raises:
        ImageError: the folder cannot be read, a map has another size than its photograph, or no
            photograph has one.
    """
    maps = {path.stem: path for path in list_images(folder)}
    found = {}
    for number, (pixels, file) in enumerate(zip(photographs, files, strict=True)):
        if file.stem in maps:
            found[number] = _read(maps[file.stem], pixels.shape[:2])
        progress("reading label maps", number + 1, len(files), {})
    if not found:
        raise ImageError(
            f"no photograph has a label map in {folder}: they belong together by the names of "
            "their files without the ending."
        )
    return found


def _read(path: Path, size: tuple[int, ...]) -> list[Outline]:
    with Image.open(path) as image:
        labels = np.asarray(image)
    if labels.shape != size or not np.issubdtype(labels.dtype, np.integer):
        raise ImageError(
            f"{path} is no label map of its photograph: its values are {labels.dtype} of shape "
            f"{labels.shape}; whole numbers of shape {size} are needed."
        )
    return labelled(labels)
