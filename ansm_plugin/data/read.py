"""Images and masks from files."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ansm_plugin.data.pixels import Mask, Pixels
from ansm_plugin.errors import ImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
# Formats of these suffixes and of what is often mistaken for one; others have readers that start
# programs (EPS) or that hardly anybody tries.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM")
# What Pillow's readers raise for damaged files.
_DAMAGED = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_RINGING = 16  # grey levels that JPEG may add to an empty mask
_BAND = 1024  # rows
_LARGEST_PIXELS = 178_000_000  # where Pillow takes an image for a decompression bomb


def read_image(path: Path) -> Pixels:
    """Return an image as `(H, W, 3)` uint8 RGB, turned as its EXIF orientation says.

    CMYK, palette and grey images are converted, alpha is dropped, 16-bit images are reduced to 8.

    Raises:
        ImageError: missing, empty, truncated, animated, too large, or not an image.
    """
    image = _decoded(path)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bit(image, path)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_mask(path: Path, size: tuple[int, int]) -> Mask:
    """Return a mask as `(H, W)` in {0, 1}.

    Args:
        path: an image whose white (or 1) pixels are forged.
        size: expected (H, W).

    Raises:
        ImageError: unreadable, of another size, or not binary.
    """
    image = _decoded(path)
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise ImageError(f"mask {path} holds NaN or infinite values; save it with two values.")
    # Pillow cuts 16-bit levels at 255, so that white stays white and 1 stays 1.
    grey = np.asarray(image.convert("L"))
    if grey.shape != size:
        raise ImageError(
            f"mask {path} is {grey.shape[1]}x{grey.shape[0]}, its image {size[1]}x{size[0]}; "
            "give a mask of the same size."
        )
    top = 1 if grey.max() <= 1 else 255
    # Masks saved as JPEG ring a little around edges; more than that is not a binary mask.
    between = float(((grey > 0.25 * top) & (grey < 0.75 * top)).mean())
    if between > 0.02:
        raise ImageError(
            f"mask {path} is not binary: {between:.1%} of its pixels are neither near 0 nor near "
            f"{top}. Save it with two values."
        )
    if _RINGING < grey.max() < 0.5 * top:
        raise ImageError(
            f"mask {path} is neither empty nor binary: its brightest level is {grey.max()}; "
            f"forged pixels are 1 or near {top}. Save it with two values."
        )
    return (grey >= 0.5 * top).astype(np.uint8)


def _decoded(path: Path) -> Image.Image:
    """Return one still image, decoded and upright; raise ImageError that says what is wrong."""
    if not path.is_file():
        raise ImageError(f"there is no file {path}; check the path.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); copy it again.")
    try:
        return _decode(path)
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


def _decode(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of large images and damaged metadata; the pixels decide.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > _LARGEST_PIXELS:
                raise Image.DecompressionBombError
            # Phones write MPO: a photograph with a depth map or preview behind it.
            if getattr(opened, "is_animated", False) and opened.format != "MPO":
                frames = getattr(opened, "n_frames", 1)
                raise ImageError(f"{path} has {frames} frames; save the one you mean as a PNG.")
            ImageOps.exif_transpose(opened, in_place=True)  # a copy costs 0.4 GB at 100 megapixels
            opened.load()
    return opened


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
