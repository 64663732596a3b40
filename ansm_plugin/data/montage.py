"""How a region of a photograph is forged: spliced, copied and moved, or removed.

Each maker returns what is pasted over the host, and where: content `(S, S, 3)` in [0, 255] and a
mask `(S, S)` in {0, 1}, empty where nothing was found that fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import to_8_bit
from ansm_plugin.data.donors import KINDS
from ansm_plugin.data.edits import edited, resized_mask
from ansm_plugin.data.outlines import Outline, outlines
from ansm_plugin.data.pixels import Floats, Mask, Pixels, Rng
from ansm_plugin.data.regions import region

_BICUBIC = Image.Resampling.BICUBIC
_TRIES = 8  # segments that are looked at before a thing is given up
_DONOR_EDITS = 0.35
_ALONG_SEGMENTS = 0.67


class Source:
    """Photographs that hosts and donors are cut from; outlines are found once, when asked for.

    Args:
        photographs: `(H, W, 3)` uint8 arrays.
        known: outlines of some of them, by number; those of others are found by segmentation.
    """

    def __init__(
        self, photographs: Sequence[Pixels], known: Mapping[int, list[Outline]] | None = None
    ) -> None:
        self.photographs = photographs
        self._outlines = dict(known or {})

    def thing(self, number: int, rng: Rng) -> tuple[Floats, Mask]:
        """Return a part of a photograph in its box, `(h, w, 3)`, and its shape, `(h, w)`.

        It is cut along a segment; by a drawn shape where there is none, and in a third of all.
        """
        photograph = self.photographs[number]
        if number not in self._outlines:
            self._outlines[number] = outlines(photograph)
        found = self._outlines[number]
        if found and rng.random() < _ALONG_SEGMENTS:
            outline = found[int(rng.integers(len(found)))]
        else:
            outline = _drawn(photograph, rng)
        rows = slice(outline.top, outline.top + outline.shape.shape[0])
        columns = slice(outline.left, outline.left + outline.shape.shape[1])
        pixels = photograph[rows, columns].astype(np.float32)
        return pixels, outline.shape[: pixels.shape[0], : pixels.shape[1]]


def _drawn(photograph: Pixels, rng: Rng) -> Outline:
    """Return a blob, an ellipse or a rectangle somewhere in a photograph."""
    shorter = min(photograph.shape[:2])
    side = int(rng.integers(max(16, shorter // 8), max(17, shorter // 2)))
    top, left = (int(rng.integers(length - side + 1)) for length in photograph.shape[:2])
    return Outline(top, left, region(side, (0.4, 0.8), rng))


class Area(NamedTuple):
    """Smallest and largest share of the host that a forged region covers."""

    least: float
    most: float

    def holds(self, mask: NDArray[np.uint8]) -> bool:
        """Return whether a mask `(S, S)` in {0, 1} covers a share within these."""
        return bool(self.least <= mask.mean() <= self.most)


class Pasted(NamedTuple):
    """Content `(S, S, 3)` in [0, 255], and where it is pasted, `(S, S)` in {0, 1}."""

    content: Floats
    mask: Mask


def splice(host: Floats, source: Source, number: int, area: Area, rng: Rng) -> Pasted:
    """Paste a thing of another photograph, turned, resized and with a history of its own."""
    others = [n for n in range(len(source.photographs)) if n != number] or [number]
    for _ in range(_TRIES):
        found = source.thing(others[int(rng.integers(len(others)))], rng)
        if (placed := _placed(*found, len(host), area, rng)) is not None:
            content, mask = placed
            content = _lit_as(content, host, mask, rng) if rng.random() < 0.5 else content
            return Pasted(edited(content, rng, _DONOR_EDITS), mask)
    return _nothing(host)


def copy_move(host: Floats, source: Source, number: int, area: Area, rng: Rng) -> Pasted:
    """Paste a part of the host elsewhere, as it is or turned and resized."""
    for _ in range(_TRIES):
        found = _part(host, source, rng)
        if (placed := _placed(*found, len(host), area, rng)) is not None:
            content, mask = placed
            if not np.allclose(content[mask == 1], host[mask == 1], atol=2):  # not onto itself
                return Pasted(edited(content, rng, _DONOR_EDITS / 3), mask)
    return _nothing(host)


def removal(host: Floats, source: Source, number: int, area: Area, rng: Rng) -> Pasted:
    """Cover a region by what is beside it: cloned from there, or filled in smoothly with grain."""
    for _ in range(_TRIES):
        placed = _placed(*_part(host, source, rng), len(host), area, rng)
        if placed is None:
            continue
        mask = placed[1]
        if rng.random() < 0.6:
            return Pasted(_cloned(host, rng), mask)
        return Pasted(_filled(host, mask, rng), mask)
    return _nothing(host)


Maker = Callable[[Floats, Source, int, Area, Rng], Pasted]
MAKERS: dict[str, Maker] = {"splice": splice, "copy_move": copy_move, "removal": removal}


def _nothing(host: Floats) -> Pasted:
    return Pasted(host, np.zeros(host.shape[:2], np.uint8))


def _part(host: Floats, source: Source, rng: Rng) -> tuple[Floats, Mask]:
    """Return a box of the host and a shape in it: that of a thing of some photograph."""
    _, shape = source.thing(int(rng.integers(len(source.photographs))), rng)
    fitted = min(1.0, 0.8 * len(host) / max(shape.shape))
    scale = fitted * float(rng.uniform(0.5, 1.0))
    shape = resized_mask(shape, _scaled_size(shape, scale))
    top, left = (int(rng.integers(len(host) - side + 1)) for side in shape.shape)
    box = host[top : top + shape.shape[0], left : left + shape.shape[1]]
    return box.copy(), shape


def _scaled_size(shape: Mask, scale: float) -> tuple[int, int]:
    height, width = (max(2, round(length * scale)) for length in shape.shape)
    return height, width


def _placed(
    pixels: Floats, shape: Mask, side: int, area: Area, rng: Rng
) -> tuple[Floats, Mask] | None:
    """Return a thing on a canvas `(side, side, 3)`, turned and resized, and its mask; or None.

    A third keeps its scale and is not turned: then nothing was resampled.
    """
    if rng.random() < 0.5:
        pixels, shape = pixels[:, ::-1], shape[:, ::-1]
    if rng.random() < 0.67:
        aim = float(np.exp(rng.uniform(np.log(area.least), np.log(area.most)))) * side * side
        scale = float(np.clip(np.sqrt(aim / max(1, int(shape.sum()))), 0.3, 1.6))
        turn = float(rng.normal(0, 12)) if rng.random() < 0.5 else 0.0
        pixels, shape = _turned(pixels, shape, scale, turn)
    if max(shape.shape) > 2 * side:
        return None
    # The box may hang over the edges; what hangs over is cut off.
    top, left = (int(rng.integers(-(n // 3), max(1, side - 2 * n // 3))) for n in shape.shape)
    canvas, mask = np.zeros((side, side, 3), np.float32), np.zeros((side, side), np.uint8)
    rows, columns = (
        slice(max(0, start), min(side, start + n))
        for start, n in zip((top, left), shape.shape, strict=True)
    )
    cut = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    canvas[rows, columns], mask[rows, columns] = pixels[cut], shape[cut]
    return (canvas, mask) if area.holds(mask) else None


def _turned(pixels: Floats, shape: Mask, scale: float, degrees: float) -> tuple[Floats, Mask]:
    height, width = _scaled_size(shape, scale)
    image = Image.fromarray(to_8_bit(pixels)).resize((width, height), _BICUBIC)
    shape = resized_mask(shape, (height, width))
    if degrees:
        image = image.rotate(degrees, _BICUBIC, expand=True)
        turned = Image.fromarray(shape * 255).rotate(degrees, Image.Resampling.BILINEAR, True)
        shape = (np.asarray(turned) > 127).astype(np.uint8)
    return np.asarray(image, np.float32), shape


def _lit_as(content: Floats, host: Floats, mask: Mask, rng: Rng) -> Floats:
    """Move the thing's mean colour some way towards that of the host, as a careful forger does."""
    inside = mask == 1
    offset = host.mean((0, 1)) - content[inside].mean(0)
    lit: Floats = (content + np.float32(rng.uniform(0.2, 0.8)) * offset).clip(0, 255)
    return lit.astype(np.float32)


def _cloned(host: Floats, rng: Rng) -> Floats:
    """Return the host itself, moved by a sixth to a half of its side both ways."""
    side = len(host)
    shift = rng.integers(side // 6, side // 2, 2) * rng.choice([-1, 1], 2)
    return np.roll(host, tuple(int(s) for s in shift), (0, 1))


def _filled(host: Floats, mask: Mask, rng: Rng) -> Floats:
    """Fill the mask from its surroundings as simple inpainting does, with the host's own grain."""
    grain = host - blurred(host, 1.0)
    strength = np.float32(rng.uniform(0.0, 1.0))
    filled: Floats = KINDS["removal"](host, (), mask, rng)
    return (filled + strength * np.roll(grain, len(host) // 3, 0)).astype(np.float32)
