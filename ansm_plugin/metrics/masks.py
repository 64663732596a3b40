"""Metrics of masks: pure functions, one value per image.

A pixel is predicted as forged where its probability is above 0.5, which is a logit above 0.
Shape of all `logits` and `masks`: `(B, 1, H, W)`, masks in {0, 1}.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.errors import ImageError

_EPS = 1e-8
_MOST_RANKED = 4_000_000  # pixels that torchmetrics may sort at once


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
    _require_matching(logits, masks)
    return _f1(_count(logits > 0, masks))


def iou_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the intersection over union of each image; an authentic image scores 0.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    _require_matching(logits, masks)
    hit, false, missed = _count(logits > 0, masks)
    return hit / (hit + false + missed + _EPS)


def permuted_f1_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the larger F1 of each image's prediction and its inverse.

    IMDLBenCo's PixelF1 in mode "double": a localizer that marks exactly the authentic pixels has
    found the forgery. It hides inverted masks, so it never stands alone.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    _require_matching(logits, masks)
    direct, inverse = (_f1(_count(p, masks)) for p in (logits > 0, logits <= 0))
    return torch.maximum(direct, inverse)


def auc_scores(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the area under the ROC curve over the pixels of each image.

    NaN where it is not defined: an image that is authentic, or forged everywhere. Ties count half.

    Shape: two `(B, 1, H, W)` -> `(B,)` in [0, 1] or NaN, fp64.
    """
    _require_matching(logits, masks)
    scores = [_auc(z, m > 0.5) for z, m in zip(logits.detach(), masks, strict=True)]
    return torch.tensor(scores, dtype=torch.float64)


def false_positive_share(logits: Tensor) -> Tensor:
    """Return the share of pixels predicted as forged; for authentic images each one is false.

    Shape: `(B, 1, H, W)` -> `(B,)` in [0, 1], fp64.
    """
    return (logits > 0).double().mean((1, 2, 3))


def _auc(logits: Tensor, forged: Tensor) -> float:
    """Return the AUC of one image; NaN where it has forged or authentic pixels alone."""
    # Imported here: torchmetrics is slow to import, and training needs the other metrics alone.
    from torchmetrics.functional.classification import binary_auroc

    count = int(forged.sum())
    if not 0 < count < forged.numel():
        return math.nan
    if forged.numel() > _MOST_RANKED:
        return _counted_auc(logits, forged)
    labels = forged.long().flatten()
    return float(binary_auroc(_squashed(logits.flatten()), labels, validate_args=False))


def _counted_auc(logits: Tensor, forged: Tensor) -> float:
    """Return the share of pairs of an authentic and a forged pixel in the right order.

    The same number in 12 bytes per pixel; torchmetrics takes about 80, too many for photographs.
    """
    authentic = np.sort(logits[~forged].cpu().numpy())
    wins = 0.0
    for part in torch.split(logits[forged].cpu(), _MOST_RANKED):
        for side in ("left", "right"):  # half of both: a tie counts half
            wins += float(np.searchsorted(authentic, np.sort(part.numpy()), side).sum()) / 2
    return wins / (len(authentic) * int(forged.sum()))


def _squashed(values: Tensor) -> Tensor:
    """Return values in (0, 1) of the same order, which is all that AUC depends on, fp64.

    A sigmoid would make all confident logits the probability 1, a tie; this keeps any two fp32
    apart whose sizes are between 1e-9 and 1e8.
    """
    exact = values.double()
    return 0.5 + exact / (1 + exact.abs()) / 2


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


def _require_matching(logits: Tensor, masks: Tensor) -> None:
    # Broadcasting would turn (B, 1, H, W) against (B, H, W) into a wrong number, not an error.
    if logits.shape != masks.shape or logits.ndim != 4 or logits.shape[1] != 1:
        raise ImageError(
            f"logits {tuple(logits.shape)} and masks {tuple(masks.shape)} were given; both must be "
            "(B, 1, H, W)."
        )
