"""Views of a defended localizer for an attacker who knows the ANSM.

Each view predicts what the defended localizer predicts and differs only on the way back, where a
defence may hide its gradient. Of a gated pair "plain" alone goes through the gate; the others
attack the module behind it. Start from images attacked without knowledge with
`run_attack(..., start=...)`; expect a random channel with its `expectation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ansm_plugin.ansm import ANSM, clip
from ansm_plugin.localizer.call import Forward, Perturb, mask_forward

if TYPE_CHECKING:  # attacks serve the defence and do not need it
    from ansm_plugin.defended import DefendedLocalizer


def adaptive_forwards(
    defended: DefendedLocalizer[Any], *, precision: str = "fp32"
) -> dict[str, Forward]:
    """Return the views by name, each pixels `(B, 3, H, W)` in [0, 1] -> logits `(B, 1, H, W)`.

    - "plain": the defended localizer as it is.
    - "straight-through": the cut to [0, 1] is an identity on the way back (BPDA, Athalye et al.,
      ICML 2018), so pixels at the ends of the range keep their gradient.
    - "unsaturated": besides, tanh is an identity on the way back. Missing for a module that is no
      `ANSM`, whose inside we do not know.
    - "bypass": besides, the whole module is: whatever it does to its gradient is of no use.

    Args:
        defended: made by `wrap_with_ansm`, in eval mode.
        precision: "bf16" runs module and localizer under autocast.
    """
    bare = mask_forward(defended.localizer, defended.spec, precision=precision)
    ansm = defended.ansm

    def behind(perturbation: Perturb) -> Forward:
        def forward(pixels: Tensor) -> Tensor:
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
                delta = perturbation(pixels)
            return bare(straight_through(clip, pixels + delta.float()))

        return forward

    views = {
        "plain": mask_forward(defended, defended.spec, precision=precision),
        "straight-through": behind(ansm),
        "bypass": behind(lambda pixels: ansm(pixels).detach()),
    }
    if isinstance(ansm, ANSM):
        views["unsaturated"] = behind(lambda pixels: _unsaturated(ansm, pixels))
    return views


def straight_through(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return `function(inputs)`, with an identity on the way back (BPDA).

    For what has no useful gradient: rounding, a JPEG file, a resize by a library.
    Shape: the function keeps that of its input.
    """
    return inputs + (function(inputs) - inputs).detach()


def _unsaturated(ansm: ANSM, pixels: Tensor) -> Tensor:
    raw = ansm.raw(pixels)
    return straight_through(lambda scaled: ansm.bounded(scaled / ansm.bound), ansm.bound * raw)
