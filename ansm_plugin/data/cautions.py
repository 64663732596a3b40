"""Reasons for care with a photograph: what was done to it, and what the localizer does not know.

Each holds for the file alone: no caution is no proof that a photograph is as a camera made it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ansm_plugin.data.history import FileHistory
from ansm_plugin.data.pixels import Plane
from ansm_plugin.data.read import Upright
from ansm_plugin.data.recompression import BLOCK, was_coarser
from ansm_plugin.data.resampling import was_enlarged

SMALLEST_SIDE = 256  # pixels; below it there is little to compare a region with
_MIDDLE = 1024  # pixels of a side that are looked at for traces of processing
RECOMPRESSED = "recompressed"
LOW_QUALITY = 70  # of JPEG; below it fine traces are gone
# Width and height of common screens and phones, in pixels, the long side first.
_SCREENS = {
    (1024, 768), (1280, 720), (1280, 800), (1280, 1024), (1366, 768), (1440, 900), (1536, 864),
    (1600, 900), (1680, 1050), (1920, 1080), (1920, 1200), (2560, 1080), (2560, 1440),
    (2560, 1600), (2880, 1800), (3024, 1964), (3440, 1440), (3456, 2234), (3840, 2160),
    (5120, 2880), (1136, 640), (1334, 750), (1792, 828), (2160, 1080), (2208, 1242), (2220, 1080),
    (2280, 1080), (2340, 1080), (2400, 1080), (2408, 1080), (2436, 1125), (2532, 1170),
    (2556, 1179), (2622, 1206), (2688, 1242), (2778, 1284), (2796, 1290), (2868, 1320),
    (2960, 1440), (3040, 1440), (3088, 1440), (3120, 1440), (3200, 1440), (2048, 1536),
    (2160, 1620), (2224, 1668), (2360, 1640), (2388, 1668), (2732, 2048),
}  # fmt: skip
_SCREEN_FORMATS = ("PNG", "WEBP", "BMP")  # what screens are saved as; most cameras write JPEG
_EDITORS = (
    "photoshop", "lightroom", "gimp", "affinity", "pixelmator", "snapseed", "picsart", "paint",
    "capture one", "luminar", "facetune", "canva", "krita", "darktable", "rawtherapee", "acdsee",
    "irfanview", "imagemagick", "picasa", "corel", "photoscape", "polarr", "vsco", "fotor",
)  # fmt: skip


class Caution(NamedTuple):
    """A reason for care: one word or two that are the same for the same reason, and a sentence."""

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """What a localizer's weights say that they were trained on; None is what they do not say.

    Attributes:
        sides: shortest and longest side of its pictures, in pixels.
        formats: of their files, as "JPEG".
        jpeg_quality: lowest and highest.
    """

    sides: tuple[int, int] | None = None
    formats: tuple[str, ...] | None = None
    jpeg_quality: tuple[int, int] | None = None

    @staticmethod
    def from_table(table: Mapping[str, Any]) -> TrainedOn:
        """Return what the table `trained_on` of weights says; entries that make no sense do not."""
        formats = table.get("formats")
        are_names = isinstance(formats, list) and all(isinstance(f, str) for f in formats)
        return TrainedOn(
            sides=_pair(table.get("sides")),
            formats=tuple(formats) if are_names and formats else None,
            jpeg_quality=_pair(table.get("jpeg_quality")),
        )


def cautions_of(history: FileHistory, found: Upright, trained_on: TrainedOn) -> list[Caution]:
    """Return the reasons for care with a photograph.

    Args:
        history: what its file says.
        found: the photograph.
        trained_on: what the localizer knows.
    """
    width, height = found.image.size
    luma = luma_of(found.source)
    cautions = [
        _recompressed(history, found, luma),
        _resized(luma),
        _edited(history),
        _screenshot(history, width, height),
        _too_small(width, height),
        _strongly_compressed(history),
        *_outside(history, width, height, trained_on),
    ]
    return [caution for caution in cautions if caution is not None]


def luma_of(source: Image.Image) -> Plane | None:
    """Return grey levels `(H, W)` of the middle of a picture as it lay in its file.

    From a corner of JPEG's grid of blocks on; None where it is no picture of 8 bits without a
    palette, whose grey levels are those that were saved.
    """
    if source.mode not in ("L", "LA", "RGB", "RGBA"):
        return None
    sides = [min(side, _MIDDLE) // BLOCK * BLOCK for side in source.size]
    left, top = (
        (whole - side) // 2 // BLOCK * BLOCK for whole, side in zip(source.size, sides, strict=True)
    )
    middle = source.crop((left, top, left + sides[0], top + sides[1]))
    # As JPEG has it; conversion to "L" rounds otherwise, which moves small coefficients.
    return np.asarray(middle.convert("RGB").convert("YCbCr").getchannel(0), np.float32)


def _recompressed(history: FileHistory, found: Upright, luma: Plane | None) -> Caution | None:
    tables = history.quantisation
    if luma is None or (tables is None and found.is_lossy):  # another codec
        return None
    if not was_coarser(luma, None if tables is None else tables.luma):
        return None
    now = f"{history.format}" if tables is None else f"about quality {tables.quality}"
    return Caution(
        RECOMPRESSED,
        "Levels are missing that one compression does not leave out: it was probably a JPEG of "
        f"lower quality before it was saved as {now}.",
    )


def _resized(luma: Plane | None) -> Caution | None:
    if luma is None or not was_enlarged(luma):
        return None
    return Caution(
        "resized",
        "Its pixels depend on their neighbours in a period that interpolation leaves: it was "
        "probably enlarged, which changes the traces of the camera.",
    )


def _edited(history: FileHistory) -> Caution | None:
    """An editor's name stands where a camera writes its firmware."""
    software = history.software or ""
    if not any(name in software.lower() for name in _EDITORS):
        return None
    return Caution(
        "edited", f"The file says that {software} wrote it, so it was saved after the camera."
    )


def _screenshot(history: FileHistory, width: int, height: int) -> Caution | None:
    if history.camera or history.format not in _SCREEN_FORMATS:
        return None
    size = max(width, height), min(width, height)
    if size not in _SCREENS:
        return None
    return Caution(
        "screenshot",
        f"{width}x{height} pixels is the size of a common screen, the file is a {history.format} "
        "and names no camera: it may show a screen, whose pixels carry no traces of a camera.",
    )


def _too_small(width: int, height: int) -> Caution | None:
    if min(width, height) >= SMALLEST_SIDE:
        return None
    return Caution(
        "too small",
        f"{width}x{height} pixels: below {SMALLEST_SIDE} on a side there is little to compare a "
        "region with, and the picture was probably reduced, which removes traces.",
    )


def _strongly_compressed(history: FileHistory) -> Caution | None:
    tables = history.quantisation
    if tables is None or tables.quality >= LOW_QUALITY:
        return None
    return Caution(
        "strong compression",
        f"JPEG of about quality {tables.quality}: below {LOW_QUALITY} fine traces of forgeries are "
        "gone, so that marks and their absence mean less.",
    )


def _outside(
    history: FileHistory, width: int, height: int, known: TrainedOn
) -> list[Caution | None]:
    """Compare a photograph with what the localizer was trained on."""
    return [
        _outside_of("its shorter side", min(width, height), known.sides, " pixels"),
        _other_format(history, known),
        _outside_of(
            "its JPEG quality",
            None if history.quantisation is None else history.quantisation.quality,
            known.jpeg_quality,
        ),
    ]


def _outside_of(
    what: str, value: int | None, known: tuple[int, int] | None, unit: str = ""
) -> Caution | None:
    if value is None or known is None or known[0] <= value <= known[1]:
        return None
    ends = f"{known[0]}" if known[0] == known[1] else f"{known[0]} to {known[1]}"
    return Caution(
        "outside the model's range",
        f"The localizer was trained on pictures whose {what.removeprefix('its ')} is {ends}{unit}; "
        f"{what} is {value}.",
    )


def _other_format(history: FileHistory, known: TrainedOn) -> Caution | None:
    name = "JPEG" if history.format == "MPO" else history.format
    if known.formats is None or name is None or name in known.formats:
        return None
    return Caution(
        "outside the model's range",
        f"The localizer was trained on {', '.join(known.formats)}; this file is a {name}.",
    )


def _pair(value: object) -> tuple[int, int] | None:
    """Return two whole numbers in their order; None for anything else."""
    if not isinstance(value, list) or not all(isinstance(number, int) for number in value):
        return None
    return (value[0], value[1]) if len(value) == 2 and value[0] <= value[1] else None
