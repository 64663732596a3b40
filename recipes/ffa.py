"""Recipe `ffa`, stage 1: Forgery-relevant Features Alignment.

The localizer's features of the suppressed attacked image are drawn to those of the original image
(arXiv 2506.12871; reference choices of ours are fields below).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import DEFAULT_PRESET
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.localizer.taps import parse_tap, taps
from ansm_plugin.recipes.run import AnsmRun, start_with
from ansm_plugin.recipes.stage import Setup, Stage
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.losses import channelwise_kl, l2cos
from ansm_plugin.training.step import Step, StepOutput, Turn


@dataclass(frozen=True, kw_only=True)
class Ffa:
    """Choices of stage 1.

    Attributes:
        loss: "channelwise_kl" as in the paper, "reverse_kl" for the other order, or "l2cos".
        scale: one factor on the whole loss, which is small by its 1/N.
        alpha: guards the logarithm of `channelwise_kl`.
        taps: encoder stages to align; empty takes those of the localizer's spec.
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

    def needed_taps(self, defended: DefendedLocalizer[nn.Module]) -> tuple[str, ...]:
        """Return the stages to align."""
        return stages_to_align(self.ffa, defended)


RECIPE = FfaRecipe


def run(recipe: FfaRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train stage 1; write `output/ffa.safetensors` and `output/ffa.toml`.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    # The start first: nothing is written for one that cannot be read.
    start = start_with(recipe.ansm, recipe.start, recipe.ffa.fit.seed)
    run = AnsmRun("ffa", recipe, output, start, progress=progress)
    run.claim()
    return run.train("ffa", lambda setup: make_step(setup, recipe.ffa), recipe.ffa.fit)


def make_step(setup: Setup, ffa: Ffa) -> Step:
    """Return the step of stage 1, which aligns features of suppressed attacked images.

    Raises:
        ConfigError: neither the choices nor the localizer's spec name taps.
    """
    names = stages_to_align(ffa, setup.defended)
    features = Features(setup.defended.localizer, names, setup.forward(ffa.fit.precision))

    def step(turn: Turn) -> StepOutput:
        originals, _, attacked = setup.pairs.draw(ffa.fit.batch_size, turn.generator, turn.share)
        # Not kept from epoch to epoch: few crops are drawn twice, and they take up to gigabytes.
        with torch.no_grad():
            clean = features(originals)
        suppressed = setup.suppress(attacked)
        loss = align(ffa, features(suppressed.images), clean)
        logs = {"saturated": suppressed.saturated}
        return StepOutput(loss + suppressed.penalty, logs, setup.requirement(turn.index))

    return step


def stages_to_align(ffa: Ffa, defended: DefendedLocalizer[nn.Module]) -> tuple[str, ...]:
    """Return the taps of stage 1.

    Raises:
        ConfigError: neither the choices nor the localizer's spec name any.
    """
    if not (names := ffa.taps or defended.spec.taps):
        raise ConfigError(
            f"{type(defended.localizer).__name__} has no known taps; name the stages to align: "
            "taps = ['module.path', ...], or --localizer-taps module.path,... on the command line."
        )
    return names


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
