"""The work of `evaluate`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ansm_plugin.api.given import Images, Masks, material_of, suited
from ansm_plugin.api.models import Device, Model, defended
from ansm_plugin.commands.results import RECORDS, prepare_folders, write_report
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.labels import Labels
from ansm_plugin.evaluation.material import VALIDATION
from ansm_plugin.evaluation.measure import Measured, Opponents, measure
from ansm_plugin.evaluation.results import Evaluation
from ansm_plugin.evaluation.rivals import baseline_names
from ansm_plugin.localizer.modes import frozen_eval
from ansm_plugin.report.panels import save_pictures
from ansm_plugin.system.lock import only_run_in
from ansm_plugin.system.progress import Progress


def evaluated(
    model: Model,
    images: Images,
    masks: Masks,
    config: EvaluationConfig,
    opponents: Opponents,
    output: Path | None,
    progress: Progress,
    device: Device,
) -> Evaluation:
    """Return the scores of a pair: see `calls.evaluate`."""
    names = baseline_names(opponents.baselines or ("none",))
    opponents = replace(opponents, baselines=names)
    validation = VALIDATION if names else 0
    with only_run_in(output), defended(model, device) as pair, frozen_eval(pair):
        prepare_folders(output, None, force=False)
        material = material_of(
            *suited(model, images, masks), validation, authentic=config.frames, progress=progress
        )
        evaluation = measure(
            Measured(pair, material, config),
            opponents,
            labels=Labels(localizer=model if isinstance(model, str) else ""),
            records=output / RECORDS if output else None,
            progress=progress,
        )
        if output is not None:
            scored = material.scored
            pictures = save_pictures(pair, scored, evaluation, config, output, progress)
            write_report(evaluation, pictures, output)
    return evaluation
