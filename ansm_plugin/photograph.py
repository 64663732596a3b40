"""Tamper probabilities of whole photographs, in tiles where they are large, and pictures of them.

Shape suffixes: H height, W width of the photograph; h, w of a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ansm_plugin.data.pixels import Pixels, to_tensor
from ansm_plugin.data.tiles import OVERLAP, TILE, Tiling
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.spec import LocalizerSpec

Probabilities = NDArray[np.float32]


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


def _scored_tile(defended: DefendedLocalizer[Any], pixels_hw3: Pixels) -> Scored:
    pixels = to_tensor(pixels_hw3).to(device_of(defended))
    with torch.inference_mode():
        examined = defended.pixels.examine(pixels)
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
    device = device_of(localizer)

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
