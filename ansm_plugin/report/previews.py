"""Small pictures of a photograph and of its probabilities: as files, and inside a page.

Shape suffixes: H height, W width of the photograph.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.pixels import Pixels
from ansm_plugin.system.files import make_folder, write_whole

SIDES = (512, 384, 256, 192)  # longest side in pixels of a preview; smaller ones for many
MOST_BYTES = 48 * 2**20  # of the pictures in one page, as text
_JPEG_QUALITY = 82

Paths = tuple[Path, Path]  # of both previews


class Embedded(NamedTuple):
    """Both previews as data URIs, of one size in pixels."""

    photograph: str
    probability: str
    width: int
    height: int

    @property
    def bytes(self) -> int:
        return len(self.photograph) + len(self.probability)


def save_previews(
    pixels_HW3: Pixels, probabilities_HW: NDArray[np.float32], folder: Path, name: Path
) -> tuple[str, str]:
    """Write both previews; return `preview` and `probability_preview` of the record.

    A pixel of a preview is the mean over the pixels that it stands for.

    Args:
        pixels_HW3: `(H, W, 3)` uint8, upright.
        probabilities_HW: `(H, W)` in [0, 1].
        folder: of results.
        name: of the photograph in it, with its suffix; previews lie under `previews/`.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    height, width = probabilities_HW.shape
    size = _fitted(width, height, SIDES[0])
    photograph = Image.fromarray(pixels_HW3).resize(size, Image.Resampling.BOX)
    small = np.asarray(Image.fromarray(probabilities_HW).resize(size, Image.Resampling.BOX))
    levels = Image.fromarray((small * 255).round().clip(0, 255).astype(np.uint8))
    stem = Path("previews") / name.with_suffix("")
    preview, probability = Path(f"{stem}.jpg"), Path(f"{stem}-probability.png")
    make_folder((folder / preview).parent)
    write_whole(folder / preview, lambda file: file.write(_jpeg(photograph)))
    write_whole(folder / probability, lambda file: file.write(_png(levels)))
    return preview.as_posix(), probability.as_posix()


def embed(
    previews: Sequence[Paths | None], *, most_bytes: int = MOST_BYTES
) -> list[Embedded | None]:
    """Return previews for a page, the first ones first; all of one longest side at most.

    The longest side is the largest of `SIDES` with which all fit into `most_bytes`; where not even
    the smallest does, the last photographs have no picture. One whose files are gone has none.
    """
    for side in SIDES:
        pictures = (None if paths is None else _embedded(paths, side) for paths in previews)
        kept = list(_within(pictures, most_bytes))
        if len(kept) == len(previews):
            return kept
    return kept + [None] * (len(previews) - len(kept))


def _within(pictures: Iterable[Embedded | None], most_bytes: int) -> Iterator[Embedded | None]:
    """Yield pictures until one does not fit any more."""
    total = 0
    for picture in pictures:
        total += picture.bytes if picture else 0
        if total > most_bytes:
            return
        yield picture


def _embedded(paths: Paths, side: int) -> Embedded | None:
    try:
        photograph, probability = (path.read_bytes() for path in paths)
        size = _open(photograph).size
        if max(size) > side:
            size = _fitted(*size, side)
            photograph = _jpeg(_open(photograph).resize(size, Image.Resampling.BOX))
            probability = _png(_open(probability).resize(size, Image.Resampling.BOX))
    except OSError:  # gone or damaged: the page says that there is no picture
        return None
    return Embedded(_uri("jpeg", photograph), _uri("png", probability), *size)


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def _fitted(width: int, height: int, side: int) -> tuple[int, int]:
    """Return width and height with the longest at most `side` and the shape kept; both >= 1."""
    scale = min(1.0, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _jpeg(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return stream.getvalue()


def _png(picture: Image.Image) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
