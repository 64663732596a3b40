"""Malformed images and masks: files of every format and mode that Pillow writes, damaged."""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from support.hunts import Hunt, damaged

from ansm_plugin.data.read import read_image, read_mask
from ansm_plugin.errors import ImageError

# Saved in each of these modes where the format has it.
_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F")
_NOT_WRITTEN = {"PDF", "EPS", "WMF", "BUFR", "GRIB", "HDF5", "SPIDER", "ICNS", "IM"}


def pixels() -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a small picture with a dark and a bright half."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, 60, (12, 16, 3)).astype(np.uint8)
    made[:, 8:] += 150
    return made


@functools.cache
def images() -> list[bytes]:
    """Return a picture in every format and mode that Pillow writes, also animated and turned."""
    Image.init()
    found = []
    for kind in [*sorted(set(Image.SAVE) - _NOT_WRITTEN), "EPS"]:
        for mode in _MODES:
            if (content := encoded(kind, mode)) is not None:
                found.append(content)
    return [*found, *animations(), *turned()]


def encoded(kind: str, mode: str, **options: Any) -> bytes | None:
    """Return a picture as the bytes of a file, or None where the format lacks the mode."""
    stream = io.BytesIO()
    grey = Image.fromarray(pixels()).convert("L")
    picture = grey.convert(mode) if mode in ("I;16", "I", "F") else None
    picture = picture or Image.fromarray(pixels()).convert(mode)
    try:
        picture.save(stream, kind, **options)
    except (OSError, ValueError, KeyError, TypeError, SystemError, AttributeError):
        return None
    return stream.getvalue()


def animations() -> Iterator[bytes]:
    """Yield files of several frames."""
    frames = [Image.fromarray(np.roll(pixels(), shift, 0)) for shift in range(3)]
    for kind in ("GIF", "PNG", "TIFF", "WEBP", "MPO"):
        stream = io.BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        yield stream.getvalue()


def turned() -> Iterator[bytes]:
    """Yield files whose EXIF says how to turn them, nonsense included."""
    for orientation in (0, 3, 6, 8, 9, 65535):
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            exif = Image.Exif()
            exif[0x0112] = orientation
            content = encoded(kind, "RGB", exif=exif)
            assert content is not None
            yield content


def check_image(folder: Path, content: bytes) -> None:
    """An image is `(H, W, 3)` uint8 or refused, whatever its name says that it is."""
    path = folder / "photograph.jpg"
    path.write_bytes(content)
    try:
        found = read_image(path)
    except ImageError:
        return
    assert (found.dtype, found.ndim, found.shape[2]) == (np.uint8, 3, 3)


def check_mask(folder: Path, content: bytes) -> None:
    """A mask is zeros and ones of the size of its image, or refused."""
    path = folder / "mask.png"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "masks ", UserWarning)  # what is unusual about it
        try:
            found = read_mask(path, (12, 16))
        except ImageError:
            return
    assert found.shape == (12, 16)
    assert set(np.unique(found)) <= {0, 1}


HUNTS = [
    Hunt("images", damaged(images), check_image),
    Hunt("masks", damaged(images), check_mask),
]
