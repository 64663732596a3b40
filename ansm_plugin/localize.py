"""Tamper probabilities of whole photographs, in tiles where they are large, and pictures of them.

Shape suffixes: H height, W width of the photograph; h, w of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from ansm_plugin.data import to_tensor
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import LocalizerError
from ansm_plugin.files import write_whole
from ansm_plugin.forgeries import Pixels
from ansm_plugin.localizer import LocalizerSpec, mask_forward
from ansm_plugin.tiles import OVERLAP, TILE, Tiling

_TINT = np.array([255, 0, 60], np.uint8)
_OUTLINE = np.array([255, 225, 0], np.uint8)
_BAND = 1024  # rows that are painted at once, so that a large photograph needs no large copies

Probabilities = NDArray[np.float32]
Mask = NDArray[np.bool_]


def localize_image(
    localizer: nn.Module,
    spec: LocalizerSpec,
    pixels_HW3: Pixels,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> Probabilities:
    """Return the probability of tampering per pixel, `(H, W)` in [0, 1].

    Memory beyond photograph (3 bytes per pixel) and result (4) is that of one tile: with the
    embedded pair about 0.6 GB at 1024 pixels, in proportion to its area. In the overlap of two
    tiles the outer quarter of each is dropped and the rest is blended linearly.

    Args:
        localizer: bare or defended, in eval mode.
        spec: how to talk to it.
        pixels_HW3: `(H, W, 3)` uint8, any size.
        tile: longest side that is worked on at once, rounded up to the grid of tiles.
        overlap: pixels that neighbouring tiles share; at most half a tile.

    Raises:
        ConfigError: tile and overlap do not fit each other.
        LocalizerError: the localizer cannot take a tile, or returns NaN.
    """
    height, width = pixels_HW3.shape[:2]
    probabilities_HW = np.zeros((height, width), np.float32)
    predict = _predictor(localizer, spec)
    for row, column in Tiling(tile, spec.stride, overlap).windows(height, width):
        window = (slice(row.start, row.stop), slice(column.start, column.stop))
        weight_hw = row.weight[:, None] * column.weight
        probabilities_HW[window] += weight_hw * predict(pixels_HW3[window])
    return probabilities_HW


class Scored(NamedTuple):
    """Both probabilities of tampering, `(H, W)` in [0, 1], and the attack score: see `defended`."""

    bare: Probabilities
    defended: Probabilities
    score: float


def localize_scored(
    defended: DefendedLocalizer[Any],
    pixels_HW3: Pixels,
    *,
    tile: int = TILE,
    overlap: int = OVERLAP,
) -> Scored:
    """Return what `localize_image` returns with and without the defence, and the attack score.

    The score of a photograph in tiles is the mean over its pixels of the scores of their tiles, so
    noise in few of many tiles is diluted.

    Args:
        defended: calibrated, in eval mode; its gate plays no part.
        pixels_HW3: `(H, W, 3)` uint8, any size.
        tile: longest side that is worked on at once, as in `localize_image`.
        overlap: pixels that neighbouring tiles share; at most half a tile.

    Raises:
        ConfigError: tile and overlap do not fit each other.
        LocalizerError: the localizer cannot take a tile, or returns NaN.
        WeightsError: the ANSM was never calibrated.
    """
    height, width = pixels_HW3.shape[:2]
    bare_HW, defended_HW = np.zeros((2, height, width), np.float32)
    score = 0.0
    for row, column in Tiling(tile, defended.spec.stride, overlap).windows(height, width):
        window = (slice(row.start, row.stop), slice(column.start, column.stop))
        weight_hw = row.weight[:, None] * column.weight
        found = _scored_tile(defended, pixels_HW3[window])
        bare_HW[window] += weight_hw * found.bare
        defended_HW[window] += weight_hw * found.defended
        score += float(weight_hw.sum(dtype=np.float64)) * found.score / (height * width)
    return Scored(bare_HW, defended_HW, score)


def outline(mask_HW: Mask, width: int) -> Mask:
    """Return the inner edge of a mask, `width` pixels wide; the picture's border is no edge."""
    inner = mask_HW
    for _ in range(width):
        eroded = inner.copy()
        eroded[1:] &= inner[:-1]
        eroded[:-1] &= inner[1:]
        eroded[:, 1:] &= inner[:, :-1]
        eroded[:, :-1] &= inner[:, 1:]
        inner = eroded
    edge: Mask = mask_HW & ~inner
    return edge


def overlay(pixels_HW3: Pixels, mask_HW: Mask) -> Pixels:
    """Return the photograph with the masked region tinted and outlined."""
    edge_HW = outline(mask_HW, min(8, max(1, max(mask_HW.shape) // 400)))
    painted = pixels_HW3.copy()
    for top in range(0, len(painted), _BAND):
        band, inside = painted[top : top + _BAND], mask_HW[top : top + _BAND]
        band[inside] = band[inside] // 2 + _TINT // 2
        band[edge_HW[top : top + _BAND]] = _OUTLINE
    return painted


def save_png(path: Path, pixels: NDArray[np.uint8]) -> Path:
    """Write `(H, W)` or `(H, W, 3)` uint8 as PNG; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    # Level 1: a photograph of 100 megapixels in seconds, and hardly larger than at level 6.
    return write_whole(
        path, lambda stream: Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    )


def _scored_tile(defended: DefendedLocalizer[Any], pixels_hw3: Pixels) -> Scored:
    home = next((p.device for p in defended.parameters()), torch.device("cpu"))
    inputs = defended.spec.normalise(to_tensor(pixels_hw3).to(home))
    with torch.inference_mode():
        examined = defended.examine(inputs)
        score = float(defended.judge(examined)[0])
        masks = torch.sigmoid(torch.cat([examined.bare, examined.defended]))[:, 0].cpu().numpy()
    if not math.isfinite(score) or not np.isfinite(masks).all():
        raise LocalizerError(
            "the localizer returned NaN; its weights are damaged or not those of this architecture."
        )
    return Scored(masks[0], masks[1], score)


def _predictor(
    localizer: nn.Module, spec: LocalizerSpec
) -> Callable[[Pixels], NDArray[np.float32]]:
    """Return pixels `(h, w, 3)` -> probabilities `(h, w)`, on the localizer's device."""
    forward = mask_forward(localizer, spec)
    device = next((p.device for p in localizer.parameters()), torch.device("cpu"))

    def predict(pixels_hw3: Pixels) -> NDArray[np.float32]:
        size = f"{pixels_hw3.shape[1]}x{pixels_hw3.shape[0]}"
        try:
            with torch.inference_mode():
                probabilities = torch.sigmoid(forward(to_tensor(pixels_hw3).to(device)))[0, 0]
        except LocalizerError as error:
            raise LocalizerError(
                f"{error} If memory ran out, lower --tile; if the photograph is too small for it, "
                "enlarge the photograph."
            ) from error
        if not bool(torch.isfinite(probabilities).all()):
            raise LocalizerError(
                f"the localizer returned NaN on {size} pixels; its weights are damaged or not "
                "those of this architecture."
            )
        result: NDArray[np.float32] = probabilities.cpu().numpy()
        return result

    return predict
