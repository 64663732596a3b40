"""The gate: an image that does not look attacked is left as it is.

Shape suffixes: B batch, H height, W width (pixels).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attack_score import AttackScore, features
from ansm_plugin.errors import WeightsError


class Examined(NamedTuple):
    """What the attack score judges.

    Attributes:
        pixels: `(B, 3, H, W)` in [0, 1].
        delta: defensive perturbation without the gate, same shape, in pixel units.
        bare: logits of the localizer, `(B, 1, H, W)`.
        defended: logits behind the perturbation, same shape.
    """

    pixels: Tensor
    delta: Tensor
    bare: Tensor
    defended: Tensor


def judge(score: AttackScore, examined: Examined) -> Tensor:
    """Return the attack score of each image, `(B,)`: log-odds, 0 at the threshold."""
    return score(features(*examined))


def gated(delta: Tensor, score_B: Tensor) -> Tensor:
    """Return a perturbation that is exactly 0 for images whose attack score is 0 or below.

    On the way back the gate is a sigmoid of the score (straight-through): an attacker may go
    through it.

    Shape: `(B, 3, H, W)` and `(B,)` -> `(B, 3, H, W)`.
    """
    soft_B = torch.sigmoid(score_B)
    is_open_B = (score_B > 0).float() + (soft_B - soft_B.detach())
    return delta * is_open_B.view(-1, 1, 1, 1)


def require_score(score: AttackScore | None) -> AttackScore:
    """Return the coefficients of the attack score, or raise WeightsError if there are none."""
    if score is None:
        raise WeightsError(
            "this ANSM has no attack score: it was not calibrated. Run `ansm calibrate "
            "--localizer NAME --ansm FILE --output FILE` once, and wrap with that file."
        )
    return score
