"""One whole measurement, from material to result: what the command and the Python call share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.labels import Labels
from ansm_plugin.evaluation.material import Material
from ansm_plugin.evaluation.ready import require_attackable
from ansm_plugin.evaluation.results import Evaluation
from ansm_plugin.evaluation.rivals import attackers, costs, fit_baselines, with_baselines
from ansm_plugin.evaluation.run import evaluate
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent


class Measured(NamedTuple):
    """A defended localizer, the images that it is measured on, and what is attacked."""

    defended: DefendedLocalizer[Any]
    material: Material
    config: EvaluationConfig


@dataclass(frozen=True, kw_only=True)
class Opponents:
    """What stands beside the defended localizer, by name.

    Attributes:
        baselines: other defences, names of `baselines`; they are tuned on the validation images.
        surrogates: what an attacker of T3 has, as `rivals.surrogates` reads it.
        own_modules: files of the ANSMs that an attacker of T3.5 trained himself.
    """

    baselines: tuple[str, ...] = ()
    surrogates: tuple[str, ...] = ()
    own_modules: tuple[str, ...] = ()


def measure(
    measured: Measured,
    opponents: Opponents,
    *,
    labels: Labels,
    records: Path | None = None,
    cost_size: int | None = None,
    progress: Progress = silent,
    among: Processes = ALONE,
) -> Evaluation:
    """Evaluate; the first process adds what ANSM and baselines cost.

    Args:
        measured: what is measured, on what, and how hard.
        opponents: what stands beside it.
        labels: names for the result.
        records: file that keeps finished parts, so that the same call goes on after a kill.
        cost_size: side in pixels of the square whose cost is measured; None: the first images'.
        progress: called with the name of a phase, its finished and all parts, and no logs.
        among: `processes()` where several processes call this alike.

    Raises:
        AnsmError: a name or a file cannot be used, or as `evaluate` raises it.
    """
    defended, material, config = measured
    require_attackable(defended, config, opponents.surrogates)
    # Bad files are named before anything is fitted.
    rivals = attackers(opponents.surrogates, opponents.own_modules, defended, config)
    others = fit_baselines(
        opponents.baselines, defended, material.validation, config, progress=progress
    )
    evaluation = evaluate(
        defended,
        material.scored,
        config,
        labels=labels,
        rivals=with_baselines(rivals, others, defended, config),
        records=records,
        progress=progress,
        among=among,
    )
    evaluation = replace(evaluation, left_out=material.left_out)
    if not among.is_first:
        return evaluation
    height, width = (cost_size or min(config.tile, side) for side in material.size)
    return replace(evaluation, cost=costs(defended, others, (height, width), progress))
