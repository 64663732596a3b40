"""The embedded default, evaluated on forgeries of photographs that were not in training."""

from __future__ import annotations

from pathlib import Path

from ansm_plugin.backbones import reference
from ansm_plugin.data import DataConfig, load_crops
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate, write_json
from ansm_plugin.files import make_folder
from ansm_plugin.pictures import save_pictures
from ansm_plugin.samples import crop_samples
from ansm_plugin.training import Report, silent

_SEED = 1


def demo_data(images: int) -> DataConfig:
    """Return the data of the demo: forgeries of the built-in test photographs."""
    return DataConfig(split="test", count=images, seed=_SEED)


def demonstrate(
    images: int,
    output: Path,
    *,
    config: EvaluationConfig | None = None,
    command_line: str = "ansm demo",
    report: Report = silent,
) -> Evaluation:
    """Attack and defend the embedded localizer; write numbers and pictures to a folder.

    Args:
        images: number of forged crops.
        output: receives `demo.json`, `summary.png` and `panels/NN.png`.
        config: the attacks.
        command_line: said in the JSON.
        report: called with name, finished batches, all batches and no logs.

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
        report=report,
    )
    write_json(evaluation, output / "demo.json")
    save_pictures(defended, samples, evaluation, config, output)
    return evaluation
