"""Recipe `two_stage`: FFA, then MgR from its weights, on the same attacked crops."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import nn

from ansm_plugin.ansm import DEFAULT_PRESET
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.recipes import ffa as stage_1
from ansm_plugin.recipes import mgr as stage_2
from ansm_plugin.recipes.ffa import Ffa
from ansm_plugin.recipes.matching import stages_to_compare
from ansm_plugin.recipes.mgr import Mgr
from ansm_plugin.recipes.run import AnsmRun, start_with
from ansm_plugin.recipes.stage import Stage
from ansm_plugin.system.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class TwoStageRecipe(Stage):
    """All choices of both stages.

    Attributes:
        ansm: preset of the module to train.
        start: weights of an ANSM to start from instead, as in `ffa`.
        ffa: choices of stage 1.
        mgr: choices of stage 2.
    """

    ansm: str = DEFAULT_PRESET
    start: Path | None = None
    ffa: Ffa = field(default_factory=Ffa)
    mgr: Mgr = field(default_factory=Mgr)

    def needed_taps(self, defended: DefendedLocalizer[nn.Module]) -> tuple[str, ...]:
        """Return the stages that either stage aligns or compares."""
        compared = stages_to_compare(self.mgr, defended)
        return (*stage_1.stages_to_align(self.ffa, defended), *compared)


RECIPE = TwoStageRecipe


def run(recipe: TwoStageRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train both stages; write `ffa.safetensors`, `mgr.safetensors` and `two_stage.toml`.

    A finished stage 1 of the same recipe is not repeated. Returns the file of stage 2.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    table = asdict(recipe)
    # Stage 1 does not depend on the choices of stage 2: changing those keeps its result.
    trainings = {
        "ffa": {"recipe": {k: v for k, v in table.items() if k != "mgr"}},
        "mgr": {"recipe": table},
    }
    # The start first: nothing is written for one that cannot be read.
    start = start_with(recipe.ansm, recipe.start, recipe.ffa.fit.seed)
    run = AnsmRun("two_stage", recipe, output, start, trainings=trainings, progress=progress)
    run.claim()
    if not run.is_finished("ffa"):
        run.train("ffa", lambda setup: stage_1.make_step(setup, recipe.ffa), recipe.ffa.fit)
    run.go_on_from("ffa")
    return run.train("mgr", lambda setup: stage_2.make_step(setup, recipe.mgr), recipe.mgr.fit)
