"""Objectives an attacker maximises on a dense binary localizer.

Each takes logits and masks of shape `(B, 1, H, W)` and the progress of the attack in [0, 1], and
returns one value per image, `(B,)`: a sum over pixels, so that gradients never underflow.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.errors import ConfigError, unknown_name

Objective = Callable[[Tensor, Tensor, float], Tensor]


def bce(logits: Tensor, masks: Tensor, progress: float) -> Tensor:
    """Binary cross-entropy against the true mask: the plain untargeted objective."""
    return _bce_map(logits, masks).sum((1, 2, 3))


def cospgd(logits: Tensor, masks: Tensor, progress: float) -> Tensor:
    """Cross-entropy weighted by the agreement of prediction and mask per pixel.

    CosPGD (Agnihotri et al., ICML 2024): cosine of the predicted class distribution and the
    one-hot mask; pixels already wrong get little weight.
    """
    foreground = torch.sigmoid(logits)
    predicted = torch.cat([1 - foreground, foreground], dim=1)
    wanted = torch.cat([1 - masks, masks], dim=1)
    weight = functional.cosine_similarity(predicted, wanted, dim=1).unsqueeze(1).detach()
    return (weight * _bce_map(logits, masks)).sum((1, 2, 3))


def margin(logits: Tensor, masks: Tensor, progress: float) -> Tensor:
    """Signed distance to the decision, clipped once a pixel is clearly wrong.

    Carlini and Wagner (2017) with confidence 1 on dense labels: minus the logit margin.
    """
    signed = logits * (2 * masks - 1)
    return (-signed).clamp_max(1.0).sum((1, 2, 3))


def hide(logits: Tensor, masks: Tensor, progress: float) -> Tensor:
    """Minus the cross-entropy against the empty mask: what a forger wants."""
    return -_bce_map(logits, torch.zeros_like(masks)).sum((1, 2, 3))


OBJECTIVES: dict[str, Objective] = {
    "bce": bce,
    "cospgd": cospgd,
    "margin": margin,
    "hide": hide,
}


def objective(name: str) -> Objective:
    """Return an objective by name, or raise ConfigError with the nearest names."""
    if name not in OBJECTIVES:
        raise ConfigError(unknown_name("objective", name, OBJECTIVES))
    return OBJECTIVES[name]


def _bce_map(logits: Tensor, masks: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")
