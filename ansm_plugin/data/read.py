"""Images and masks from files."""

from __future__ import annotations

import stat
import struct
import warnings
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from ansm_plugin.data.formats import (
    FORMATS,
    HEIF_REASON,
    RAW_REASON,
    SUFFIXES,
    is_heif,
    is_raw,
    reads_heif,
)
from ansm_plugin.data.masks import Remarks, mask_of
from ansm_plugin.data.pixels import Mask, Pixels
from ansm_plugin.errors import ImageError

__all__ = ["SUFFIXES", "Upright", "head_of", "read_image", "read_mask", "read_upright"]

# What Pillow's readers raise for damaged files.
_DAMAGED = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_BAND = 1024  # rows
_LARGEST_PIXELS = 178_000_000  # where Pillow takes an image for a decompression bomb
_HEAD = 64  # bytes that tell a format
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class Upright(NamedTuple):
    """A decoded image, turned as its EXIF orientation said.

    Attributes:
        image: of any mode.
        orientation: 1 to 8, by which it was turned; 1 where EXIF has none or is broken.
        is_lossy: whether its format changes levels.
        source: the image as it lay in the file, with all that the file says of it.
    """

    image: Image.Image
    orientation: int
    is_lossy: bool
    source: Image.Image


def read_image(path: Path) -> Pixels:
    """Return an image as `(H, W, 3)` uint8 RGB, turned as its EXIF orientation says.

    CMYK, palette and grey images are converted, alpha is dropped, 16-bit images are reduced to 8.
    Of broken EXIF nothing is believed: such an image is taken to be upright.

    Raises:
        ImageError: missing, empty, truncated, animated, too large, or not an image.
    """
    return pixels_of(read_upright(path).image, path)


def read_mask(path: Path, size: tuple[int, int], remarks: Remarks | None = None) -> Mask:
    """Return a mask as `(H, W)` in {0, 1}, turned as its own EXIF orientation says.

    Args:
        path: an image whose forged pixels are white, 1, or in a lossless file anything but 0.
        size: expected (H, W).
        remarks: receives what is unusual about it; None warns at once.

    Raises:
        ImageError: unreadable, of another size, or neither binary nor labels.
    """
    found = read_upright(path)
    require_size(found.image, path, size)
    said = Remarks() if remarks is None else remarks
    mask = mask_of(found.image, path, said, is_lossy=found.is_lossy)
    if remarks is None:
        said.warn()
    return mask


def require_size(image: Image.Image, path: Path, size: tuple[int, int]) -> None:
    """Raise ImageError where a mask is not of the size (H, W) of its image."""
    if (image.height, image.width) != size:
        raise ImageError(
            f"mask {path} is {image.width}x{image.height}, its image {size[1]}x{size[0]}; "
            "give a mask of the same size."
        )


def read_upright(path: Path) -> Upright:
    """Return one still image, decoded and upright.

    Raises:
        ImageError: missing, empty, truncated, animated, too large, or not an image.
    """
    head = head_of(path)
    if is_raw(path):
        raise ImageError(f"{path} is {RAW_REASON}.")
    if is_heif(head) and not reads_heif():
        raise ImageError(f"{path} is {HEIF_REASON}.")
    try:
        return _decode(path, (*FORMATS, "HEIF") if is_heif(head) else FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} has more than {_LARGEST_PIXELS:,} pixels; cut it into parts."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image that Pillow knows; allowed: {', '.join(sorted(SUFFIXES))}."
        ) from error
    except _DAMAGED as error:
        raise ImageError(f"{path} is truncated or damaged ({error}); copy it again.") from error


def head_of(path: Path) -> bytes:
    """Return the first bytes of a file; raise ImageError where there are none to read."""
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise ImageError(f"{path} is a folder; name a file.")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
            raise ImageError(f"{path} is a pipe, a socket or a device; save it as a file first.")
        if status.st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes); copy it again.")
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise ImageError(f"there is no file {path}; check the path.") from error
    except OSError as error:  # no permission, a loop of links, a name that is too long
        raise ImageError(f"cannot read {path}: {error.strerror or error}.") from error


def _decode(path: Path, formats: tuple[str, ...]) -> Upright:
    with warnings.catch_warnings():
        # Pillow warns of large images and damaged metadata; the pixels decide.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path, formats=formats) as opened:
            if opened.width * opened.height > _LARGEST_PIXELS:
                raise Image.DecompressionBombError
            # Phones write MPO: a photograph with a depth map or preview behind it.
            if getattr(opened, "is_animated", False) and opened.format not in ("MPO", "HEIF"):
                frames = getattr(opened, "n_frames", 1)
                raise ImageError(f"{path} has {frames} frames; save the one you mean as a PNG.")
            is_lossy = _is_lossy(opened, path)
            return Upright(*_turned(opened), is_lossy, opened)


def _turned(opened: Image.Image) -> tuple[Image.Image, int]:
    """Return an image decoded and upright, and its orientation before."""
    if opened.format == "TIFF":
        orientation = _orientation(opened)
        # Else it is turned while it is decoded, and not decoded at all where EXIF is broken.
        opened.getexif = Image.Exif  # type: ignore[method-assign]
        opened.load()
    else:
        opened.load()
        orientation = _orientation(opened)  # of a PNG it may stand behind the pixels
    turn = _TURNS.get(orientation)
    return (opened if turn is None else opened.transpose(turn)), orientation


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation; 1 where there is none, or none that can be read."""
    try:
        orientation = int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _DAMAGED:
        return 1
    return orientation if orientation in _TURNS else 1


def _is_lossy(opened: Image.Image, path: Path) -> bool:
    """Return whether levels are other ones than those that were saved."""
    if opened.format == "TIFF":
        return opened.info.get("compression") in ("jpeg", "tiff_jpeg", "webp")
    if opened.format == "WEBP":  # lossless pixels lie in chunks of their own
        with path.open("rb") as stream:
            return b"VP8L" not in stream.read(1 << 16)
    return opened.format in ("JPEG", "MPO", "AVIF", "HEIF")


def pixels_of(image: Image.Image, path: Path) -> Pixels:
    """Return a decoded image as `(H, W, 3)` uint8 RGB.

    Raises:
        ImageError: its levels or colours have no place there.
    """
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bit(image, path)
    try:
        return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
    except ValueError as error:
        raise ImageError(f"{path} has the colours {image.mode}; save it as RGB.") from error


def _from_16_bit(image: Image.Image, path: Path) -> Pixels:
    """Reduce 16-bit grey levels to 8 bit."""
    levels = np.asarray(image)
    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and high <= 65535):  # NaN is neither
        raise ImageError(f"{path} holds levels outside 0 to 65535; save it as 8-bit PNG.")
    # Floating point images go from 0 to 1 by custom; as 16-bit levels they would all be black.
    scale = 255.0 if image.mode == "F" and high <= 1 else 1 / 257
    grey = np.empty(levels.shape, np.uint8)
    for top in range(0, len(levels), _BAND):  # in parts: a copy in floats takes eight times as much
        part = levels[top : top + _BAND].astype(np.float64)
        grey[top : top + _BAND] = np.rint(part * scale)
    return np.repeat(grey[..., None], 3, axis=2)
