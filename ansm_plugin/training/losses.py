"""Loss functions of the training stages: pure, in fp32 or better, with a graph for every input.

Shape suffixes: B batch, C channels, N pixels of one channel, H height, W width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.errors import ConfigError


def channelwise_kl(
    processed: Sequence[Tensor],
    original: Sequence[Tensor],
    *,
    alpha: float = 1e-8,
    reverse: bool = False,
) -> Tensor:
    """Return the mean channel-wise KL divergence D(processed || original) over taps.

    Each channel becomes a distribution over its N pixels by softmax. The processed distribution
    comes first and the 1/N of the paper is kept (FFA, arXiv 2506.12871; method.md facts 5 to 7):
    `mean_i mean_channel (1/N) sum_k m_k log((m_k + alpha) / (q_k + alpha))`. `reverse` takes
    D(original || processed) instead, the order that distillation takes.

    Shape: two equally long sequences of `(B, C, N)` -> scalar. No gradient flows to `original`.
    """
    return _mean_over_taps(
        processed, original, lambda p, o: _kl(o, p, alpha) if reverse else _kl(p, o, alpha)
    )


def l2cos(processed: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Return the mean over taps of squared L2 distance plus one minus cosine similarity.

    Unlike `channelwise_kl` it sees the mean of a channel, which a softmax over pixels cannot
    (ForensicsSAM, arXiv 2508.07402). The squared distance is divided by the energy of the
    original so that encoder stages of different scale count alike (our choice).

    Shape: two equally long sequences of `(B, C, N)` -> scalar. No gradient flows to `original`.
    """
    return _mean_over_taps(processed, original, _l2_plus_cosine)


def relative_l2(processed: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Return the mean over taps of the squared L2 distance over the energy of the original.

    Shape: two equally long sequences of `(B, C, N)` -> scalar. No gradient flows to `original`.
    """
    return _mean_over_taps(
        processed, original, lambda p, o: _relative(p.flatten(1), o.flatten(1)).mean()
    )


def soft_mask(logits: Tensor, own_logits: Tensor) -> Tensor:
    """Return the mean over pixels of KL(own || found) of masks as probabilities, in nats.

    0 exactly where the logits agree; unlike `mask_loss` it also holds how sure the mask is.

    Shape: two `(B, 1, H, W)` -> scalar. No gradient flows to `own_logits`.
    """
    found, own = _at_least_fp32(logits), _at_least_fp32(own_logits.detach())
    wanted = torch.sigmoid(own)
    cross = functional.binary_cross_entropy_with_logits
    return cross(found, wanted) - cross(own, wanted)


def squashed_logits(logits: Tensor, own_logits: Tensor, *, scale: float = 4.0) -> Tensor:
    """Return the mean square distance of `tanh(logits / scale)`, in [0, 4].

    Holds logits near the decision to those of the original, and asks little of sure ones.

    Shape: two `(B, 1, H, W)` -> scalar. No gradient flows to `own_logits`.
    """
    found, own = _at_least_fp32(logits), _at_least_fp32(own_logits.detach())
    return (torch.tanh(found / scale) - torch.tanh(own / scale)).square().mean()


def mask_loss(logits: Tensor, masks: Tensor, *, bce_weight: float = 0.3) -> Tensor:
    """Return `bce_weight * BCE + (1 - bce_weight) * soft Dice`, mean over the batch.

    An empty mask gives a finite loss with a graph.

    Shape: `(B, 1, H, W)` logits and `(B, 1, H, W)` masks in [0, 1] -> scalar.
    """
    logits, masks = _at_least_fp32(logits), _at_least_fp32(masks)
    bce = functional.binary_cross_entropy_with_logits(logits, masks)
    probabilities = torch.sigmoid(logits)
    overlap = (probabilities * masks).sum((1, 2, 3))
    total = probabilities.sum((1, 2, 3)) + masks.sum((1, 2, 3))
    dice = 1 - (2 * overlap + 1) / (total + 1)  # +1: an empty mask has a defined, smooth loss
    return bce_weight * bce + (1 - bce_weight) * dice.mean()


def dual_mask(
    attacked_logits: Tensor,
    original_logits: Tensor,
    masks: Tensor,
    original_masks: Tensor | None = None,
    *,
    attacked_weight: float = 1.0,
    original_weight: float = 1.0,
    bce_weight: float = 0.3,
) -> Tensor:
    """Return the dual-mask constraint of MgR: both branches against the mask.

    `attacked_weight * l(localizer(x_pa), M) + original_weight * l(localizer(x_po), M)`, `l` =
    `mask_loss`; the second M may be another, `original_masks`.

    Shape: two `(B, 1, H, W)` logits and one or two `(B, 1, H, W)` masks in [0, 1] -> scalar.
    """
    others = masks if original_masks is None else original_masks
    attacked = mask_loss(attacked_logits, masks, bce_weight=bce_weight)
    original = mask_loss(original_logits, others, bce_weight=bce_weight)
    return attacked_weight * attacked + original_weight * original


def _at_least_fp32(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _mean_over_taps(
    processed: Sequence[Tensor],
    original: Sequence[Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    if len(processed) != len(original) or not processed:
        raise ConfigError(
            f"{len(processed)} processed and {len(original)} original features were given; "
            "both need the same number, at least one."
        )
    terms = [
        distance(_at_least_fp32(p), _at_least_fp32(o.detach()))
        for p, o in zip(processed, original, strict=True)
    ]
    return torch.stack(terms).mean()


def _kl(first_BCN: Tensor, second_BCN: Tensor, alpha: float) -> Tensor:
    m, q = first_BCN.softmax(-1), second_BCN.softmax(-1)
    return (m * ((m + alpha) / (q + alpha)).log()).mean()


def _l2_plus_cosine(processed_BCN: Tensor, original_BCN: Tensor) -> Tensor:
    p, o = processed_BCN.flatten(1), original_BCN.flatten(1)
    return (_relative(p, o) + 1 - functional.cosine_similarity(p, o, dim=1)).mean()


def _relative(processed: Tensor, original: Tensor) -> Tensor:
    """Shape: two `(B, F)` -> `(B,)`."""
    return (processed - original).square().sum(1) / original.square().sum(1).clamp_min(1e-8)
