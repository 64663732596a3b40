"""`ansm demo`: the main job on a packaged pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import (
    count_option,
    device_option,
    json_option,
    localizer_option,
    output_option,
)
from ansm_plugin.commands.options import record
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.text import say

if TYPE_CHECKING:
    import torch

    from ansm_plugin.evaluation.config import EvaluationConfig
    from ansm_plugin.evaluation.results import Evaluation


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Which pair, how many images, and where results go."""

    localizer: str | None = localizer_option()
    count: int | None = count_option()
    output: Path = output_option("numbers and pictures", Path("ansm-demo"))
    json: Path | None = json_option()
    device: str = device_option()
    command_line: str = record()


OPTIONS = DemoOptions


def run(options: DemoOptions) -> None:
    """Evaluate, show the table and say where the files are.

    Raises:
        AnsmError: the packaged weights are damaged, or a folder cannot be written.
    """
    from rich.console import Console

    from ansm_plugin.commands.placement import placed
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.evaluation.config import demo
    from ansm_plugin.report.table import print_table

    output, line, config = options.output, options.command_line, demo()
    precision = {"scores": config.precision, "attacks": config.attack_precision}
    with placed(options.device, **precision), show_progress(Console(stderr=True)) as progress:
        evaluation = demonstrate(
            options.count,
            output,
            localizer=options.localizer,
            command_line=line,
            progress=progress,
        )
    print_table(evaluation, Console())
    say(f"wrote {output / 'demo.json'}, {output / 'summary.png'} and {output / 'panels'}")
    if options.json is not None:
        say(f"wrote {write_json(options.json, evaluation.as_json())}")


def demonstrate(
    images: int | None,
    output: Path,
    *,
    localizer: str | None = None,
    config: EvaluationConfig | None = None,
    command_line: str = "ansm demo",
    progress: Progress = silent,
    device: str | torch.device | None = None,
) -> Evaluation:
    """Attack and defend a packaged localizer; write numbers and pictures to a folder.

    Args:
        images: number of forged crops; None takes what the card says. Where the config has wrong
            masks to tell, a quarter as many authentic ones are attacked too.
        output: receives `demo.json`, `summary.png` and `panels/NN.png`.
        localizer: a name that comes with an ANSM; None is the default one.
        config: the attacks.
        command_line: said in the JSON.
        progress: called with the name of a phase, its finished and all parts, and no logs.
        device: what computes; None is that of `computing_on`, else the accelerator if there is one.

    Raises:
        AnsmError: the name is unknown or without an ANSM, its weights are damaged, or the folder
            cannot be written.
    """
    from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, crops_of
    from ansm_plugin.commands.loading import load_defended
    from ansm_plugin.evaluation.config import demo
    from ansm_plugin.evaluation.labels import Labels
    from ansm_plugin.evaluation.material import demo_data, made_samples
    from ansm_plugin.evaluation.run import evaluate
    from ansm_plugin.report.panels import save_pictures
    from ansm_plugin.system.device import computing_on

    name = localizer or DEFAULT_LOCALIZER
    with computing_on(device) as place:
        defended = load_defended(name, None).to(place)
    make_folder(output)
    config = config or demo()
    samples = made_samples(
        demo_data(images, crops_of(name)), authentic=config.frames, progress=progress
    )
    labels = Labels(localizer=name, command=command_line)
    evaluation = evaluate(defended, samples, config, labels=labels, progress=progress)
    write_json(output / "demo.json", evaluation.as_json())
    save_pictures(defended, samples, evaluation, config, output, progress)
    return evaluation
