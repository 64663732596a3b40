"""Scores of one forward on one batch: values per image, and what rows are made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ansm_plugin.data.samples import require_samples as require_samples  # its home of 0.1
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.metrics.image_quality import psnr_scores, ssim_scores
from ansm_plugin.metrics.masks import (
    auc_scores,
    f1_scores,
    false_positive_share,
    iou_scores,
    permuted_f1_scores,
)

_MOST_PSNR = 100.0  # dB
_NONE = torch.zeros(0, dtype=torch.float64)


class Scores(NamedTuple):
    """Values per image, `(B,)` fp64; `false_positives` of authentic images, others of forged.

    `psnr` and `ssim` are of what was added, and empty where nothing was. An image that an attack
    left out is NaN in all of them (`left_out`). Of images that are framed, `f1`, `iou` and `area`
    are those of the wrong mask, `false_positives` is the share that is marked (`against`).
    `source` tells of forged images which of them come from one photograph
    (`Sample.source_numbers`); empty where nobody said.
    """

    f1: Tensor
    iou: Tensor
    auc: Tensor
    permuted_f1: Tensor
    area: Tensor
    false_positives: Tensor
    psnr: Tensor
    ssim: Tensor
    source: Tensor = _NONE


def score(forward: Forward, images: Tensor, masks: Tensor, forged: Tensor) -> Scores:
    """Score a forward on images.

    Args:
        forward: pixels -> mask logits.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        forged: `(B,)` bool: which images count as forged.

    Raises:
        LocalizerError: NaN comes out.
    """
    if not len(images):
        return Scores(*_nothing(len(Scores._fields)))
    logits = _logits(forward, images)
    forged = forged.cpu()
    found, true = logits[forged], masks.cpu()[forged]
    return Scores(
        f1_scores(found, true),
        iou_scores(found, true),
        auc_scores(found, true),
        permuted_f1_scores(found, true),
        true.double().mean((1, 2, 3)),
        false_positive_share(logits[~forged]),
        *_nothing(2),
    )


def _logits(forward: Forward, images: Tensor) -> Tensor:
    """Return mask logits on the CPU; raise LocalizerError for NaN."""
    with torch.no_grad():
        logits = forward(images).cpu()
    if bool(logits.isnan().any()):
        # Counted as "not forged" it would pass for a successful attack.
        raise LocalizerError(
            "the localizer returned NaN for finite pixels; check its weights, or use "
            "precision fp32."
        )
    return logits


def against(forward: Forward, images: Tensor, wrong: Tensor) -> Scores:
    """Score a forward on images against masks that are not their own.

    Args:
        forward: pixels -> mask logits.
        images: `(B, 3, H, W)` in [0, 1].
        wrong: `(B, 1, H, W)` in {0, 1}.

    Raises:
        LocalizerError: NaN comes out.
    """
    if not len(images):
        return Scores(*_nothing(len(Scores._fields)))
    logits, wrong = _logits(forward, images), wrong.cpu()
    return left_out(len(images))._replace(
        f1=f1_scores(logits, wrong),
        iou=iou_scores(logits, wrong),
        area=wrong.double().mean((1, 2, 3)),
        false_positives=false_positive_share(logits),
    )


def left_out(count: int) -> Scores:
    """Return the scores of forged images that an attack could not be made for."""
    unknown = torch.full((count,), math.nan, dtype=torch.float64)
    (nothing,) = _nothing(1)
    return Scores(**dict.fromkeys(Scores._fields, unknown))._replace(false_positives=nothing)


def attacked_alone(scores: Scores) -> Scores:
    """Return the scores without images that the attack left out."""
    kept = ~scores.f1.isnan()
    if bool(kept.all()):
        return scores
    return Scores(*(values[kept] if len(values) == len(kept) else values for values in scores))


def quality_of(changed: Tensor, images: Tensor) -> dict[str, Tensor]:
    """Return the fields of PSNR and SSIM of a change. Shape: two `(B, 3, H, W)` in [0, 1]."""
    # An unchanged image has infinite PSNR, which no mean survives: the bound is that of 8 bit.
    psnr = psnr_scores(changed, images).clamp_max(_MOST_PSNR)
    return {"psnr": psnr, "ssim": ssim_scores(changed, images)}


def _nothing(count: int) -> list[Tensor]:
    return [torch.zeros(0, dtype=torch.float64) for _ in range(count)]


def joined(parts: Sequence[Scores]) -> Scores:
    """Return the scores of several batches as one."""
    return Scores(*(torch.cat(values) for values in zip(*parts, strict=True)))


def worst(parts: Sequence[Scores]) -> Scores:
    """Return for each image the scores of the attack that left it the lowest F1.

    Mean over images of the minimum over attacks, never the minimum of means (Carlini et al.,
    arXiv 1902.06705). Of attacks that left an image out, the others count.
    """
    chosen = _known([part.f1 for part in parts]).argmin(0)
    fields = {
        name: torch.stack([getattr(part, name) for part in parts])[
            chosen, torch.arange(len(chosen))
        ]
        for name in ("f1", "iou", "auc", "permuted_f1", "area")
    }
    return Scores(
        **fields,
        **_worst_quality(parts),
        false_positives=parts[0].false_positives[:0],
        source=parts[0].source,
    )


def _worst_quality(parts: Sequence[Scores]) -> dict[str, Tensor]:
    """Return the quality of the most visible of the attacks."""
    return {
        name: _known([getattr(part, name) for part in parts]).amin(0) for name in ("psnr", "ssim")
    }


def _known(values: Sequence[Tensor]) -> Tensor:
    """Return values of several attacks in rows, infinite where an image was left out."""
    stacked = torch.stack(list(values))
    return stacked.masked_fill(stacked.isnan(), math.inf)


def to_json(scores: Scores) -> dict[str, list[float | None]]:
    """Return values that JSON can hold exactly; None stands for NaN."""
    return {
        name: [None if math.isnan(v) else v for v in values.tolist()]
        for name, values in scores._asdict().items()
    }


def from_json(fields: dict[str, Any]) -> Scores:
    """Return what `to_json` was given.

    Raises:
        KeyError, TypeError, ValueError: the fields are others.
    """
    return Scores(
        **{
            name: torch.tensor(
                [math.nan if v is None else v for v in fields[name]], dtype=torch.float64
            )
            for name in Scores._fields
        }
    )
