"""The gate: an image that does not look attacked is left as it is.

Shape suffixes: B batch, H height, W width (pixels).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, cut
from ansm_plugin.attack_score import AttackScore, features
from ansm_plugin.errors import WeightsError
from ansm_plugin.localizer.call import require_inputs
from ansm_plugin.localizer.modes import autocast, device_of, dtype_of
from ansm_plugin.localizer.spec import LocalizerSpec


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


def perturbed(ansm: nn.Module, spec: LocalizerSpec, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the pixels of an image and what the ANSM adds to them, cut to keep them in [0, 1].

    Shape: `(B, 3, H, W)` in the localizer's input range -> two of the same shape, fp32.

    Raises:
        LocalizerError: the image is on another device than the ANSM, or is no image.
    """
    has_any = any(True for _ in ansm.parameters())
    require_inputs(inputs, device_of(ansm) if has_any else None)
    with autocast(inputs.device, to_bf16=False):
        pixels = spec.denormalise(inputs).float().clamp(0, 1)
    # An ANSM sees to it itself; another module may have been moved to half precision.
    dtype = None if isinstance(ansm, ANSM) else dtype_of(ansm)
    delta = ansm(pixels.to(dtype or pixels.dtype))
    with autocast(inputs.device, to_bf16=False):
        return pixels, cut(pixels, delta.float())


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
            "--localizer NAME --ansm FILE --output FILE` once, and give that file as the ANSM."
        )
    return score
