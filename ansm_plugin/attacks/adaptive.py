"""Views of a defended localizer for an attacker who knows the ANSM.

Each view predicts what the defended localizer predicts and differs only on the way back, where a
defence may hide its gradient. Of a gated pair all go through the gate, as the images that they make
will; on the way back it is the sigmoid of the score (`gate.gated`). Start from images attacked
without knowledge with `run_attack(..., start=...)`; expect a random channel with its `expectation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ansm_plugin.ansm import ANSM, clip, cut
from ansm_plugin.gate import Examined, gated
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
    - "bypass": besides, the whole module is, its gate too: whatever it does to its gradient is of
      no use.

    Args:
        defended: made by `wrap_with_ansm`, in eval mode.
        precision: "bf16" runs module and localizer under autocast.
    """
    bare = mask_forward(defended.localizer, defended.spec, precision=precision)
    ansm = defended.ansm

    def added(perturbation: Perturb) -> Perturb:
        def delta(pixels: Tensor) -> Tensor:
            with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
                found = perturbation(pixels)
            return _through_gate(defended, bare, pixels, found.float())

        return delta

    def behind(delta: Perturb) -> Forward:
        return lambda pixels: bare(straight_through(clip, pixels + delta(pixels)))

    module = added(ansm)
    views = {
        "plain": mask_forward(defended, defended.spec, precision=precision),
        "straight-through": behind(module),
        "bypass": behind(lambda pixels: module(pixels).detach()),
    }
    if isinstance(ansm, ANSM):
        views["unsaturated"] = behind(added(lambda pixels: _unsaturated(ansm, pixels)))
    return views


def straight_through(function: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """Return `function(inputs)`, with an identity on the way back (BPDA).

    For what has no useful gradient: rounding, a JPEG file, a resize by a library.
    Shape: the function keeps that of its input.
    """
    return inputs + (function(inputs) - inputs).detach()


def _through_gate(
    defended: DefendedLocalizer[Any], bare: Forward, pixels: Tensor, delta: Tensor
) -> Tensor:
    """Return what the gate lets through; without a gate, all of it."""
    if not defended.gate:
        return delta
    cut_off = straight_through(lambda found: cut(pixels, found), delta)
    examined = Examined(pixels, cut_off, bare(pixels), bare(pixels + cut_off))
    return gated(cut_off, defended.judge(examined))


def _unsaturated(ansm: ANSM, pixels: Tensor) -> Tensor:
    raw = ansm.raw(pixels)
    return straight_through(lambda scaled: ansm.bounded(scaled / ansm.bound), ansm.bound * raw)
