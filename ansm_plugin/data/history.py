"""What a photograph's file says of itself: camera, software, time, compression, size.

Anybody can write anything into a file: what stands here is what the file says, not what happened.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from ansm_plugin.data.quantisation import Quantisation, quantisation_of, subsampling_of
from ansm_plugin.errors import ImageError
from ansm_plugin.system.text import one_line

_MOST_CHARACTERS = 200  # of a text that a file says


@dataclass(frozen=True, kw_only=True)
class FileHistory:
    """What a file says of itself; None is what it does not say.

    Attributes:
        format: as Pillow names it: "JPEG", "PNG".
        camera: maker and model.
        software: what wrote the file.
        taken: when, as it is written there: "2026:11:27 10:30:00".
        quantisation: what a JPEG file's tables say.
        subsampling: of colour in a JPEG file, as "4:2:0".
    """

    format: str | None = None
    camera: str | None = None
    software: str | None = None
    taken: str | None = None
    quantisation: Quantisation | None = None
    subsampling: str | None = None


def identity_of(path: Path) -> tuple[str, int]:
    """Return the sha256 of a file and its size in bytes.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest(), path.stat().st_size
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read {path}: {getattr(error, 'strerror', error)}.") from error


def history_of(source: Image.Image) -> FileHistory:
    """Return what the file of a decoded image says; of broken EXIF nothing is believed.

    Args:
        source: as `read.read_upright` gives it, all of it read.
    """
    exif = _exif(source)
    maker, model = (_text(exif.get(tag)) for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
    taken = exif.get(ExifTags.Base.DateTimeOriginal) or exif.get(ExifTags.Base.DateTime)
    return FileHistory(
        format=source.format,
        camera=_camera(maker, model),
        software=_text(exif.get(ExifTags.Base.Software) or source.info.get("Software")),
        taken=_text(taken),
        quantisation=quantisation_of(source),
        subsampling=subsampling_of(source),
    )


def _exif(source: Image.Image) -> dict[int, Any]:
    """Return the tags of a file, those of its EXIF block included; none where they are broken."""
    try:
        if source.format == "TIFF":  # EXIF is what the file is made of; its block was not read
            return dict(getattr(source, "tag_v2", {}))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = source.getexif()
            return {**found, **found.get_ifd(ExifTags.IFD.Exif)}
    except Exception:  # Pillow raises whatever damaged bytes lead to; a photograph is not lost
        return {}


def _camera(maker: str | None, model: str | None) -> str | None:
    """Return maker and model, the maker once: "Canon", "Canon EOS 20D" -> "Canon EOS 20D"."""
    if not maker or not model:
        return model or maker
    return model if model.lower().startswith(maker.lower()) else f"{maker} {model}"


def _text(value: object) -> str | None:
    """Return a text of a file, harmless and on one line; None where it is none, or empty."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return None
    return one_line(value.strip("\0 \t\r\n"), most=_MOST_CHARACTERS) or None
