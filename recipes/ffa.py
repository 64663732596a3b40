"""Recipe `ffa`, stage 1: Forgery-relevant Features Alignment.

The localizer's features of the suppressed attacked image are drawn to those of the original image
(arXiv 2506.12871; reference choices of ours are fields below).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
from ansm_plugin.errors import ConfigError
from ansm_plugin.losses import channelwise_kl, l2cos
from ansm_plugin.recipes.config import save_config
from ansm_plugin.recipes.stage import Stage, Workplace, prepare, train_stage
from ansm_plugin.taps import taps
from ansm_plugin.training import FitConfig, Report, Shard, StepOutput, seeded, silent


@dataclass(frozen=True, kw_only=True)
class Ffa:
    """Choices of stage 1.

    Attributes:
        loss: "channelwise_kl" as in the paper, or "l2cos".
        scale: one factor on the whole loss, which is small by its 1/N.
        alpha: guards the logarithm of `channelwise_kl`.
        taps: stages to align; empty takes those of the localizer's spec.
        fit: how long and how fast.
    """

    loss: Literal["channelwise_kl", "l2cos"] = "channelwise_kl"
    scale: float = 1e3
    alpha: float = 1e-8
    taps: tuple[str, ...] = ()
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=600, learning_rate=5e-4))


@dataclass(frozen=True, kw_only=True)
class FfaRecipe(Stage):
    """All choices of a run of stage 1 alone.

    Attributes:
        ansm: preset of the module to train.
        ffa: choices of the stage.
    """

    ansm: str = DEFAULT_PRESET
    ffa: Ffa = field(default_factory=Ffa)


RECIPE = FfaRecipe


def run(recipe: FfaRecipe, output: Path, report: Report = silent) -> Path:
    """Train stage 1; write `output/ffa.safetensors` and `output/ffa.toml`.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    save_config(recipe, output / "ffa.toml")
    with seeded(recipe.ffa.fit.seed):
        ansm = ANSM(recipe.ansm)
    place = prepare(recipe, ansm, output, report)
    return run_stage(place, recipe.ffa, output, recipe=asdict(recipe), report=report)


def run_stage(
    place: Workplace, ffa: Ffa, output: Path, *, recipe: dict[str, Any], report: Report = silent
) -> Path:
    """Align features at a prepared workplace; write `output/ffa.safetensors`."""
    names = ffa.taps or place.spec.taps
    if not names:
        raise ConfigError(
            f"{type(place.defended.localizer).__name__} has no known taps; name the stages to "
            "align: taps = ['module.path', ...]."
        )
    forward = place.forward(ffa.fit.precision)

    def step(generator: torch.Generator, shard: Shard) -> StepOutput:
        originals, _, attacked = place.pairs.draw(ffa.fit.batch_size, generator, shard)
        with torch.no_grad(), taps(place.defended.localizer, names) as clean:
            forward(originals)
        suppressed = place.suppress(attacked)
        with taps(place.defended.localizer, names) as processed:
            forward(suppressed.images)
        loss = align(ffa, [processed[n] for n in names], [clean[n] for n in names])
        return StepOutput(loss + suppressed.penalty, {"saturated": suppressed.saturated})

    return train_stage("ffa", place, step, ffa.fit, output, recipe=recipe, report=report)


def align(ffa: Ffa, processed: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Return the scaled alignment loss of features `(B, C, N)`."""
    if ffa.loss == "channelwise_kl":
        return ffa.scale * channelwise_kl(processed, original, alpha=ffa.alpha)
    return ffa.scale * l2cos(processed, original)
