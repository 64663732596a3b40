"""Recipe `two_stage`: FFA, then MgR from its weights, on the same attacked crops."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from ansm_plugin.ansm import DEFAULT_PRESET
from ansm_plugin.recipes import ffa as stage_1
from ansm_plugin.recipes import mgr as stage_2
from ansm_plugin.recipes.config import save_config
from ansm_plugin.recipes.ffa import Ffa
from ansm_plugin.recipes.mgr import Mgr
from ansm_plugin.recipes.stage import Stage, is_finished, prepare
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.checkpoints import require_own_checkpoint
from ansm_plugin.weights.ansm_file import load_ansm
from ansm_plugin.weights.tensors import sha256_of


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


RECIPE = TwoStageRecipe


def run(recipe: TwoStageRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train both stages; write `ffa.safetensors`, `mgr.safetensors` and `two_stage.toml`.

    A finished stage 1 of the same recipe is not repeated. Returns the file of stage 2.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    table = asdict(recipe)
    # Stage 1 does not depend on the choices of stage 2: changing those keeps its result.
    first_table = {k: v for k, v in table.items() if k != "mgr"}
    require_own_checkpoint(output, "ffa", {"recipe": first_table})
    require_own_checkpoint(output, "mgr", {"recipe": table})
    save_config(recipe, output / "two_stage.toml")
    ansm, parent = stage_1.first_module(recipe.ansm, recipe.start, recipe.ffa.fit.seed)
    place = prepare(recipe, ansm, output, progress)
    first = output / "ffa.safetensors"
    if not is_finished(first, place, first_table):
        stage_1.run_stage(
            place, recipe.ffa, output, recipe=first_table, parent=parent, progress=progress
        )
    load_ansm(first, into=place.ansm)
    return stage_2.run_stage(
        place, recipe.mgr, output, recipe=table, parent=sha256_of(first), progress=progress
    )
