"""Metrics of masks: pure functions, one value per image.

A pixel is predicted as forged where its probability is above 0.5, which is a logit above 0.
Shape of all `logits` and `masks`: `(B, 1, H, W)`, masks in {0, 1}. Infinite logits rank above or
below all others; NaN raises LocalizerError, other shapes ImageError.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.metrics.shapes import require_numbers, require_same_shape

_EPS = 1e-8
_MOST_POINTS = 4_000_000  # of a ROC curve at once, which take about 50 bytes each


class _Counts(NamedTuple):
    """Pixels of each image that are hit, falsely predicted and missed, `(B,)` in fp64."""

    hit: Tensor
    false: Tensor
    missed: Tensor


def f1_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the pixel F1 of each image; an authentic image (empty mask) scores 0.

    IMDLBenCo's PixelF1 at threshold 0.5: precision and recall with 1e-8 in each denominator.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    _require_comparable(logits, masks)
    return _f1(_count(logits > 0, masks))


def iou_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the intersection over union of each image; an authentic image scores 0.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    _require_comparable(logits, masks)
    hit, false, missed = _count(logits > 0, masks)
    return hit / (hit + false + missed + _EPS)


def permuted_f1_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the larger F1 of each image's prediction and its inverse.

    IMDLBenCo's PixelF1 in mode "double": a localizer that marks exactly the authentic pixels has
    found the forgery. It hides inverted masks, so it never stands alone.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    _require_comparable(logits, masks)
    direct, inverse = (_f1(_count(p, masks)) for p in (logits > 0, logits <= 0))
    return torch.maximum(direct, inverse)


def auc_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the area under the ROC curve over the pixels of each image.

    NaN where it is not defined: an image that is authentic, or forged everywhere. Ties count half.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1] or NaN, fp64.
    """
    _require_comparable(logits, masks)
    scores = [_auc(z, m > 0.5) for z, m in zip(logits.detach(), masks, strict=True)]
    return torch.tensor(scores, dtype=torch.float64)


def false_positive_share(logits: Tensor) -> Tensor:
    """Return the share of pixels predicted as forged; for authentic images each one is false.

    Shape: `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    require_numbers(logits)
    return (logits > 0).double().mean((1, 2, 3))


def _require_comparable(logits: Tensor, masks: Tensor) -> None:
    require_same_shape(1, logits=logits, masks=masks)
    require_numbers(logits)


def _auc(logits: Tensor, forged: Tensor) -> float:
    """Return the AUC of one image; NaN where it has forged or authentic pixels alone.

    The area under the line through a point for each value of the logits. torchmetrics gives the
    same number for several times the memory, which photographs do not leave.
    """
    if not 0 < int(forged.sum()) < forged.numel():
        return math.nan
    # NumPy has no bfloat16; fp32 holds all of its values.
    scores = (logits if logits.dtype == torch.float64 else logits.float()).cpu()
    parts = [np.sort(scores[part.cpu()].numpy()) for part in (~forged, forged)]
    levels = np.unique(scores.numpy())[::-1]
    area, reached = 0.0, [0, 0]  # pixels of each part that are above the levels so far
    for first in range(0, len(levels), _MOST_POINTS):
        counts = [
            np.append(before, len(part) - np.searchsorted(part, levels[first:][:_MOST_POINTS]))
            for part, before in zip(parts, reached, strict=True)
        ]
        reached = [int(count[-1]) for count in counts]
        # Quotients in fp32, as torchmetrics has them, so that no bit differs from its number.
        false, hit = (torch.from_numpy(c) / len(p) for c, p in zip(counts, parts, strict=True))
        area += float(torch.trapezoid(hit, false))
    return area


def _f1(counts: _Counts) -> Tensor:
    precision = counts.hit / (counts.hit + counts.false + _EPS)
    recall = counts.hit / (counts.hit + counts.missed + _EPS)
    return 2 * precision * recall / (precision + recall + _EPS)


def _count(predicted: Tensor, masks: Tensor) -> _Counts:
    forged = masks > 0.5
    # Counted as integers: a sum of fp32 stops being exact at 16 megapixels.
    hit, false, missed = (
        pixels.sum((1, 2, 3)).double()
        for pixels in (predicted & forged, predicted & ~forged, ~predicted & forged)
    )
    return _Counts(hit, false, missed)
