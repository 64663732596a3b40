"""What a mask image says: which pixels are forged, and what is unusual about it.

In a lossless file two to eight levels are labels: 0 is authentic and every other level is forged,
however dark. More levels are the soft edges of a mask that was resized: from half of the brightest
level on they are forged. A file that is neither is refused. JPEG and its like ring around edges,
so there a threshold decides as well. A palette counts by its colours. A picture of one colour whose
transparency varies holds its mask in the transparency.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.listing import shortened
from ansm_plugin.data.pixels import Mask
from ansm_plugin.errors import ImageError
from ansm_plugin.system.text import one_line

Levels = NDArray[Any]  # (H, W), unsigned, signed or floating point

_LABELS = 8  # distinct levels; more are no labels
_USUAL = (1, 255, 65535)  # what stands for forged beside 0
_RINGING = 16  # grey levels that JPEG may add to an empty mask
_BAND = 256  # rows
LEVELS = "masks with other levels than 0 and white: every pixel that is not 0 counts as forged"
COLOURS = "masks in colours: every pixel that is not black counts as forged"
ALPHA = "masks of one colour: their transparency is taken for the mask, opaque pixels as forged"
SOFT = "masks with soft edges: pixels of half the brightest level or more count as forged"
FAINT = "masks whose brightest level is 16 or less, in a format with losses: taken as empty"
INVERTED = (
    "masks that mark most of the picture and its whole border, as inverted ones do: white counts "
    "as forged all the same; if black is forged there, invert the files"
)
TURNED = "masks of the size that their image has before EXIF turns it: turned with the image"


class Remarks:
    """What is unusual in masks, gathered over many of them and said once."""

    def __init__(self) -> None:
        self._files: dict[str, list[str]] = defaultdict(list)

    def note(self, what: str, path: Path) -> None:
        """Remember a file of which something is to be said."""
        self._files[what].append(one_line(path.name))

    def warn(self) -> None:
        """Warn once for each thing that was noted, with the number of files and their names."""
        for what, names in self._files.items():
            files = "1 file" if len(names) == 1 else f"{len(names)} files"
            warnings.warn(f"{what}; in {files}: {shortened(names)}.", stacklevel=2)


def mask_of(image: Image.Image, path: Path, remarks: Remarks, *, is_lossy: bool) -> Mask:
    """Return the mask `(H, W)` in {0, 1} that a decoded image shows.

    Args:
        image: of any mode.
        path: its file, for messages.
        remarks: receives what is unusual.
        is_lossy: whether its format changes levels.

    Raises:
        ImageError: it can be read in no way, or in more than one.
    """
    alpha = _varying_alpha(image)
    if alpha is not None:
        mask = _of_alpha(_levels(image, path)[0], alpha, path, remarks)
    elif is_lossy:
        mask = _lossy(np.asarray(_grey(image)), path, remarks)
    else:
        levels, is_coloured = _levels(image, path)
        if is_coloured:
            _require_black(levels, path)
            remarks.note(COLOURS, path)
        mask = _lossless(levels, path, remarks)
    if mask.size > 1 and mask.mean() > 0.5 and _border_share(mask) >= 0.99:
        remarks.note(INVERTED, path)
    return mask


def _varying_alpha(image: Image.Image) -> Levels | None:
    """Return the transparency of an image, None where it has none or the same everywhere."""
    by_key = "transparency" in image.info and image.mode in ("1", "L", "P", "RGB")
    if not by_key and image.mode not in ("LA", "PA", "La", "RGBA", "RGBa"):
        return None
    alpha = np.asarray(image.convert("RGBA").getchannel("A"))
    return None if alpha.min() == alpha.max() else alpha


def _levels(image: Image.Image, path: Path) -> tuple[Levels, bool]:
    """Return the levels of an image, of colours those of the brightest, and whether it has any."""
    mode = image.mode
    if mode == "L" or mode == "F" or mode.startswith("I"):
        return np.asarray(image), False
    if mode == "1":
        return np.asarray(image).astype(np.uint8), False
    if mode == "LAB":  # Pillow cannot make it grey; its first plane is the lightness
        lightness, *colours = (np.asarray(image.getchannel(n)) for n in range(3))
        if not all(map(_is_constant, colours)):
            raise ImageError(f"mask {path} is in Lab with colours; save it as grey PNG.")
        return lightness, False
    if mode == "YCbCr":
        return np.asarray(image.getchannel(0)), False
    try:
        first, *others = (np.asarray(plane) for plane in image.convert("RGB").split())
    except ValueError as error:
        raise ImageError(f"mask {path} has the mode {mode}; save it as grey PNG.") from error
    if mode == "P" and all(map(_is_constant, (first, *others))):  # a palette that says nothing
        indices = np.asarray(image)
        return (first if _is_constant(indices) else indices), False
    is_coloured = not all(np.array_equal(first, plane) for plane in others)
    return np.maximum.reduce([first, *others]) if is_coloured else first, is_coloured


def _of_alpha(levels: Levels, alpha: Levels, path: Path, remarks: Remarks) -> Mask:
    """Read a mask whose transparency varies: from it alone, or where both say the same."""
    mask = _lossless(alpha, path, Remarks())
    visible = levels[alpha > 0]
    if _is_constant(levels):
        remarks.note(ALPHA, path)
        return mask
    # Some programs write black where nothing is seen.
    if visible.min() == visible.max() and np.array_equal(levels > 0, mask > 0):
        return mask
    raise ImageError(
        f"mask {path} has colours and a transparency that mark different pixels; save it without "
        "transparency, forged pixels white and all others black."
    )


def _lossless(levels: Levels, path: Path, remarks: Remarks) -> Mask:
    """Read levels that are exactly what was saved."""
    if levels.dtype.kind == "f" and not np.isfinite(levels).all():
        raise ImageError(f"mask {path} holds NaN or infinite values; save it with two values.")
    if levels.min() < 0:
        raise ImageError(f"mask {path} holds levels below 0; save it with the levels 0 and 255.")
    few = _distinct(levels)
    if few is None:
        mask = _thresholded(levels, _top(levels), path)
        _require_few_lost(levels, mask, path)
        remarks.note(SOFT, path)
        return mask
    if len(few) > 1 and few[0] != 0:
        raise ImageError(
            f"mask {path} has the levels {', '.join(f'{level:g}' for level in few)} and none is 0, "
            "so that none is authentic for certain. Save it with 0 for authentic pixels."
        )
    if len(few) > 2 or few[-1] not in (0, *_USUAL):
        remarks.note(LEVELS, path)
    return np.not_equal(levels, 0).astype(np.uint8)


def _require_black(levels: Levels, path: Path) -> None:
    if levels.min() > 0:
        raise ImageError(
            f"mask {path} has colours and no black pixel, so that none is authentic for certain. "
            "Save it with black for authentic pixels and white for forged ones."
        )


def _require_few_lost(levels: Levels, mask: Mask, path: Path) -> None:
    """Raise ImageError where more than edges lies between black and the threshold."""
    lost = int(((mask == 0) & (levels > _RINGING / 255 * _top(levels))).sum())
    if lost > mask.sum():
        raise ImageError(
            f"mask {path} is not binary: {lost} of its pixels are neither 0 nor near white, more "
            "than edges have. Save it with two values."
        )


def _lossy(levels: Levels, path: Path, remarks: Remarks) -> Mask:
    """Read 8-bit levels that a format with losses has changed a little."""
    highest = int(levels.max())
    if 1 < highest <= _RINGING:
        remarks.note(FAINT, path)
    return _thresholded(levels, 1 if highest <= 1 else 255, path)


def _thresholded(levels: Levels, top: float, path: Path) -> Mask:
    """Return 1 from half of the brightest possible level on.

    Raises:
        ImageError: too many levels lie between, or none is bright.
    """
    # Masks saved as JPEG ring a little around edges; more than that is not a binary mask.
    between = float(((levels > 0.25 * top) & (levels < 0.75 * top)).mean())
    if between > 0.02:
        raise ImageError(
            f"mask {path} is not binary: {between:.1%} of its pixels are neither near 0 nor near "
            f"{top:g}. Save it with two values."
        )
    if _RINGING / 255 * top < levels.max() < 0.5 * top:
        raise ImageError(
            f"mask {path} is neither empty nor binary: its brightest level is {levels.max():g}; "
            f"forged pixels are 1 or near {top:g}. Save it with two values."
        )
    mask: Mask = (levels >= 0.5 * top).astype(np.uint8)
    return mask


def _top(levels: Levels) -> float:
    """Return the level of white: by the type, and by what is there."""
    highest = float(levels.max())
    return next((float(top) for top in _USUAL if highest <= top), highest)


def _distinct(levels: Levels) -> list[float] | None:
    """Return the distinct levels in order, None where they are too many for labels."""
    found: set[float] = set()
    for top in range(0, len(levels), _BAND):  # in parts: sorting 100 megapixels takes seconds
        band = levels[top : top + _BAND]
        if band.dtype == np.uint8:
            found.update(np.flatnonzero(np.bincount(band.ravel(), minlength=256)).tolist())
        else:
            found.update(np.unique(band).tolist())
        if len(found) > _LABELS:
            return None
    return sorted(found)


def _grey(image: Image.Image) -> Image.Image:
    try:
        return image.convert("L")
    except ValueError:  # Lab
        return image.getchannel(0)


def _is_constant(pixels: Levels) -> bool:
    return bool(pixels.min() == pixels.max())


def _border_share(mask: Mask) -> float:
    """Return which share of the outermost pixels is forged."""
    return float(np.concatenate((mask[0], mask[-1], mask[:, 0], mask[:, -1])).mean())
