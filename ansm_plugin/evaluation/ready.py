"""Whether a localizer lets through what an evaluation needs, before anything is attacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.config import ENCODER, EvaluationConfig
from ansm_plugin.evaluation.results import T0, T3, T6
from ansm_plugin.localizer.gradient import require_gradient
from ansm_plugin.localizer.tapped import require_taps

# They need no gradient of the localizer: no attack, one on another localizer, one by its answers.
_WITHOUT_GRADIENT = {T0, T3, T6}


def needs_gradient(config: EvaluationConfig) -> bool:
    """Return whether an attack of an evaluation goes by the gradient of its localizer."""
    return bool(set(config.threats) - _WITHOUT_GRADIENT)


def require_attackable(
    defended: DefendedLocalizer[Any], config: EvaluationConfig, surrogates: Sequence[str]
) -> None:
    """Raise LocalizerError where attacks of the plan would find no gradient, or no feature.

    Warns where a part of the gradient is cut off.

    Args:
        defended: what is evaluated.
        config: what is attacked.
        surrogates: what an attacker of T3 has, by name.
    """
    localizer, spec = defended.localizer, defended.spec
    if needs_gradient(config):
        require_gradient(localizer, spec)
    if ENCODER in surrogates:
        require_taps(localizer, spec, spec.taps)
