"""All baselines by name, and the one function that fits any of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ansm_plugin.baselines.base import Baseline, Examples, Fitting, require_examples
from ansm_plugin.baselines.filters import (
    fit_bits,
    fit_gaussian,
    fit_identity,
    fit_jpeg,
    fit_median,
    fit_random,
)
from ansm_plugin.baselines.geometry import fit_resize_pad, fit_shift
from ansm_plugin.baselines.second_localizer import NAME as SECOND_LOCALIZER
from ansm_plugin.baselines.second_localizer import fit_second_localizer
from ansm_plugin.baselines.trained import (
    fit_finetune_all,
    fit_finetune_norm,
    fit_hgd,
    fit_hgd_small,
)
from ansm_plugin.baselines.wiener import fit_wiener
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.progress import Progress, silent

BASELINES: dict[str, Callable[[Fitting], Baseline]] = {
    "identity": fit_identity,
    "random": fit_random,
    "jpeg": fit_jpeg,
    "bits": fit_bits,
    "median": fit_median,
    "gaussian": fit_gaussian,
    "resize-pad": fit_resize_pad,
    "wiener": fit_wiener,
    "shift": fit_shift,
    "hgd-small": fit_hgd_small,
    "hgd": fit_hgd,
    "finetune-norm": fit_finetune_norm,
    "finetune-all": fit_finetune_all,
    SECOND_LOCALIZER: fit_second_localizer,
}
TRAINED = ("hgd-small", "hgd", "finetune-norm", "finetune-all", SECOND_LOCALIZER)
CHEAP = tuple(name for name in BASELINES if name not in TRAINED)


def require_baseline(name: str) -> str:
    """Return the name, or raise ConfigError with the nearest names."""
    if name not in BASELINES:
        raise ConfigError(unknown_name("baseline", name, BASELINES))
    return name


def fit_baseline(
    name: str,
    defended: DefendedLocalizer[Any],
    examples: Examples,
    *,
    generator: torch.Generator,
    training: Examples | None = None,
    steps: int = 300,
    precision: str = "fp32",
    progress: Progress = silent,
) -> Baseline:
    """Fit a baseline: its setting is the one with the best mean F1 on validation images.

    Nothing of `defended` changes; the modules must be in eval mode, as `wrap_with_ansm` leaves
    them.

    Args:
        name: in `BASELINES`.
        defended: the localizer, and the ANSM whose energy `random` spends.
        examples: validation images; authentic ones are left out.
        generator: source of all randomness, on the CPU.
        training: what trained baselines and `wiener` learn from; by default the examples, which
            flatters them.
        steps: optimiser steps of trained baselines.
        precision: of the localizer, "fp32" or "bf16".
        progress: called with name, finished and all steps and the loss of trained baselines.

    Raises:
        ConfigError: an unknown baseline, or no steps.
        ImageError: no forged example, or shapes that do not belong together.
        LocalizerError: the localizer has no parameters that the baseline could train.
        TrainingError: a loss was not finite.
    """
    factory = BASELINES[require_baseline(name)]
    validation = require_examples(examples)
    return factory(
        Fitting(
            defended=defended,
            examples=validation,
            training=validation if training is None else require_examples(training),
            generator=generator,
            steps=steps,
            precision=precision,
            progress=progress,
        )
    )
