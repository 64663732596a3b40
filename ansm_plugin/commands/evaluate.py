"""`ansm evaluate`: numbers of a localizer with and without its ANSM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ansm_plugin.commands.models import load_defended
from ansm_plugin.commands.progress import progress
from ansm_plugin.data import find_pairs, load_crops
from ansm_plugin.demo import demo_data
from ansm_plugin.evaluation import EvaluationConfig, Sample, evaluate, print_table, write_json
from ansm_plugin.files import make_folder
from ansm_plugin.pictures import save_pictures
from ansm_plugin.samples import WholeImages, crop_samples

_CROPS = 96  # that are made where no number is given


def run(
    *,
    localizer: str | None,
    ansm: Path | None,
    images: Path | None,
    masks: Path | None,
    pattern: str,
    count: int | None,
    attacks: tuple[str, ...],
    eps: tuple[float, ...],
    steps: int,
    output: Path | None,
    json: Path | None,
    command_line: str,
) -> None:
    """Evaluate, show the table and say where the files are.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    config = EvaluationConfig(attacks=attacks, eps_255=eps, steps=steps)
    for folder in (output, json.parent if json is not None else None):
        if folder is not None:  # now, not after minutes of attacks
            make_folder(folder)
    samples = read_samples(images, masks, pattern, count)
    defended = load_defended(localizer, ansm, may_be_untrained=True)
    with progress(Console(stderr=True)) as report:
        evaluation = evaluate(
            defended,
            samples,
            config,
            localizer=localizer or "",
            ansm=str(ansm or ""),
            command=command_line,
            report=report,
        )
    print_table(evaluation, Console())
    if json is not None:
        print(f"wrote {write_json(evaluation, json)}")
    if output is not None:
        written = save_pictures(defended, samples, evaluation, config, output)
        print(f"wrote {len(written)} pictures to {output}")


def read_samples(
    images: Path | None, masks: Path | None, pattern: str, count: int | None
) -> Sequence[Sample]:
    """Return whole images with their masks, or forgeries of the photographs that are given.

    Without `images` the photographs are the built-in ones that no packaged weights were trained on.
    """
    if images is not None and masks is not None:
        return WholeImages(find_pairs(images, masks, pattern)[:count])
    data = replace(demo_data(count or _CROPS), images=images, masks=masks, pattern=pattern)
    return crop_samples(load_crops(data))
