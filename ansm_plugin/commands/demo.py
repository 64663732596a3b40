"""`ansm demo`: the main job on the embedded default."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ansm_plugin.backbones import reference
from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.data.crops import load_crops
from ansm_plugin.data.samples import crop_samples
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.report.panels import save_pictures
from ansm_plugin.report.table import print_table
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.text import say


def run(*, output: Path, images: int, json: Path | None, command_line: str) -> None:
    """Evaluate, show the table and say where the files are."""
    with show_progress(Console(stderr=True)) as progress:
        evaluation = demonstrate(images, output, command_line=command_line, progress=progress)
    print_table(evaluation, Console())
    say(f"wrote {output / 'demo.json'}, {output / 'summary.png'} and {output / 'panels'}")
    if json is not None:
        say(f"wrote {write_json(json, evaluation.as_json())}")


def demonstrate(
    images: int,
    output: Path,
    *,
    config: EvaluationConfig | None = None,
    command_line: str = "ansm demo",
    progress: Progress = silent,
) -> Evaluation:
    """Attack and defend the embedded localizer; write numbers and pictures to a folder.

    Args:
        images: number of forged crops.
        output: receives `demo.json`, `summary.png` and `panels/NN.png`.
        config: the attacks.
        command_line: said in the JSON.
        progress: called with name, finished batches, all batches and no logs.

    Raises:
        AnsmError: the packaged weights are damaged, or the folder cannot be written.
    """
    make_folder(output)
    config = config or EvaluationConfig()
    localizer = reference.build_localizer(reference.DEFAULT_LOCALIZER)
    defended = wrap_with_ansm(localizer, str(reference.packaged_ansm()))
    samples = crop_samples(load_crops(demo_data(images)))
    evaluation = evaluate(
        defended,
        samples,
        config,
        localizer=reference.DEFAULT_LOCALIZER,
        command=command_line,
        progress=progress,
    )
    write_json(output / "demo.json", evaluation.as_json())
    save_pictures(defended, samples, evaluation, config, output)
    return evaluation
