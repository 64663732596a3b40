"""Recipe `ffa`, stage 1: Forgery-relevant Features Alignment.

The localizer's features of the suppressed attacked image are drawn to those of the original image
(arXiv 2506.12871; reference choices of ours are fields below).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
from ansm_plugin.attacks import Forward
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.taps import parse_tap, taps
from ansm_plugin.recipes.config import save_config
from ansm_plugin.recipes.stage import Stage, Workplace, prepare, train_stage
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.checkpoints import require_own_checkpoint
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Shard, Step, StepOutput
from ansm_plugin.training.losses import channelwise_kl, l2cos
from ansm_plugin.training.randomness import seeded
from ansm_plugin.weights.ansm_file import load_ansm
from ansm_plugin.weights.tensors import sha256_of


@dataclass(frozen=True, kw_only=True)
class Ffa:
    """Choices of stage 1.

    Attributes:
        loss: "channelwise_kl" as in the paper, "reverse_kl" for the other order, or "l2cos".
        scale: one factor on the whole loss, which is small by its 1/N.
        alpha: guards the logarithm of `channelwise_kl`.
        taps: stages to align; empty takes those of the localizer's spec.
        fit: how long and how fast.
    """

    loss: Literal["channelwise_kl", "reverse_kl", "l2cos"] = "channelwise_kl"
    scale: float = 1e3
    alpha: float = 1e-8
    taps: tuple[str, ...] = ()
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=600, learning_rate=5e-4))


@dataclass(frozen=True, kw_only=True)
class FfaRecipe(Stage):
    """All choices of a run of stage 1 alone.

    Attributes:
        ansm: preset of the module to train.
        start: weights of an ANSM to start from instead, such as those of another localizer: what
            suppresses noise before one helps before the next.
        ffa: choices of the stage.
    """

    ansm: str = DEFAULT_PRESET
    start: Path | None = None
    ffa: Ffa = field(default_factory=Ffa)


RECIPE = FfaRecipe


def run(recipe: FfaRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train stage 1; write `output/ffa.safetensors` and `output/ffa.toml`.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    require_own_checkpoint(output, "ffa", {"recipe": asdict(recipe)})
    save_config(recipe, output / "ffa.toml")
    ansm, parent = first_module(recipe.ansm, recipe.start, recipe.ffa.fit.seed)
    place = prepare(recipe, ansm, output, progress)
    return run_stage(
        place, recipe.ffa, output, recipe=asdict(recipe), parent=parent, progress=progress
    )


def first_module(preset: str, start: Path | None, seed: int) -> tuple[ANSM, str]:
    """Return the module that stage 1 begins with, and the sha256 of its file, "" if it is fresh.

    Raises:
        AnsmError: an unknown preset, or a file that holds no ANSM.
    """
    if start is not None:
        return load_ansm(start), sha256_of(start)
    with seeded(seed):
        return ANSM(preset), ""


def run_stage(
    place: Workplace,
    ffa: Ffa,
    output: Path,
    *,
    recipe: dict[str, Any],
    parent: str = "",
    progress: Progress = silent,
) -> Path:
    """Align features at a prepared workplace; write `output/ffa.safetensors`."""
    return train_stage(
        "ffa",
        place,
        place.each(lambda one: make_step(one, ffa)),
        ffa.fit,
        output,
        recipe=recipe,
        parent=parent,
        progress=progress,
    )


def make_step(place: Workplace, ffa: Ffa) -> Step:
    """Return the step of stage 1 at a prepared workplace.

    Raises:
        ConfigError: neither the choices nor the localizer's spec name taps.
    """
    names = ffa.taps or place.spec.taps
    if not names:
        raise ConfigError(
            f"{type(place.defended.localizer).__name__} has no known taps; name the stages to "
            "align: taps = ['module.path', ...]."
        )
    features = Features(place.defended.localizer, names, place.forward(ffa.fit.precision))

    def step(generator: torch.Generator, shard: Shard) -> StepOutput:
        originals, _, attacked = place.pairs.draw(ffa.fit.batch_size, generator, shard)
        # Not kept from epoch to epoch: few crops are drawn twice, and they take up to gigabytes.
        with torch.no_grad():
            clean = features(originals)
        suppressed = place.suppress(attacked)
        loss = align(ffa, features(suppressed.images), clean)
        return StepOutput(loss + suppressed.penalty, {"saturated": suppressed.saturated})

    return step


class Features:
    """Run a localizer as far as its taps need, and return what they collect.

    The first pass goes to the end and counts the calls of tapped modules; the following ones stop
    behind the last of these calls, because no loss looks at what comes after.

    Args:
        localizer: holds the tapped modules.
        names: taps, as in `taps`.
        forward: runs the localizer on pixels `(B, 3, H, W)` in [0, 1].
    """

    def __init__(self, localizer: nn.Module, names: Sequence[str], forward: Forward) -> None:
        self._localizer, self._names, self._forward = localizer, names, forward
        modules = dict(localizer.named_modules())
        # `taps` refuses names of modules that do not exist.
        paths = dict.fromkeys(parse_tap(name).path for name in names)
        self._tapped = [modules[path] for path in paths if path in modules]
        self._needed = 0  # calls of tapped modules in a whole pass; 0: not known yet

    def __call__(self, pixels: Tensor) -> list[Tensor]:
        """Return `(B, C, N)` for each tap."""
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1
            if calls == self._needed:
                raise _Enough

        with taps(self._localizer, self._names) as found, ExitStack() as hooks:
            for module in self._tapped:  # behind the taps, so that these have their feature
                hooks.callback(module.register_forward_hook(count).remove)
            with suppress(_Enough):
                self._forward(pixels)
        self._needed = calls
        return [found[name] for name in self._names]


class _Enough(Exception):  # noqa: N818 - it stops a pass, it is no error
    """Every tap has its feature."""


def align(ffa: Ffa, processed: Sequence[Tensor], original: Sequence[Tensor]) -> Tensor:
    """Return the scaled alignment loss of features `(B, C, N)`."""
    if ffa.loss == "l2cos":
        return ffa.scale * l2cos(processed, original)
    reverse = ffa.loss == "reverse_kl"
    return ffa.scale * channelwise_kl(processed, original, alpha=ffa.alpha, reverse=reverse)
