"""The report of 5,000 images is as easy to open as that of ten."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.commands.results import REPORT, RESULT, write_report
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig
from ansm_plugin.evaluation.plan import plan
from ansm_plugin.evaluation.results import summarise
from ansm_plugin.evaluation.rows import make_rows
from ansm_plugin.evaluation.scores import Scores
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.report.panels import MOST_PANELS, save_pictures

IMAGES = 5000
PAGE, NUMBERS = 4 * 2**20, 2**20  # bytes allowed
SECONDS = 120  # of processor time, on a slow computer
CONFIG = EvaluationConfig(attacks=("pgd", "mifgsm"), steps=1, white_box_steps=1)


def evaluation(images: int) -> Evaluation:
    """Return the result that made-up scores of so many images give."""
    cells = plan(CONFIG, [], [])
    scores = [
        {defence: Scores(*torch.rand(len(Scores._fields), images)) for defence in cell.scored}
        for cell in cells
    ]
    rows = tuple(make_rows(cells, scores, CONFIG.seed))
    return Evaluation(
        localizer="a",
        ansm="b",
        images=images,
        rows=rows,
        summary=summarise(rows),
        alarms=(),
        command="",
        versions={},
        seed=0,
    )


def samples(images: int) -> list[Sample]:
    """Return batches of ten forged images."""
    masks = torch.zeros(10, 1, 16, 16)
    masks[..., 4:9, 4:9] = 1
    batch = torch.rand(10, 3, 16, 16)
    return [
        Sample(batch, masks, tuple(f"{number} {index}" for index in range(10)))
        for number in range(images // 10)
    ]


def written(images: int, folder: Path) -> tuple[int, int, int]:
    """Write a report; return the bytes of the page, those of the numbers, and the panels."""
    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    spec = LocalizerSpec(mean=(0.0,) * 3, std=(1.0,) * 3)
    defended = DefendedLocalizer(nn.Conv2d(3, 1, 3, padding=1), ANSM(thin), spec).eval()
    found = evaluation(images)
    pictures = save_pictures(defended, samples(images), found, CONFIG, folder)
    write_report(found, pictures, folder)
    assert json.loads((folder / RESULT).read_text())["images"] == images
    panels = len(list((folder / "panels").iterdir()))
    return (folder / REPORT).stat().st_size, (folder / RESULT).stat().st_size, panels


def test_a_report_of_5000_images_stays_openable(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = written(10, tmp_path / "few")
    began = time.process_time()
    many = written(IMAGES, tmp_path / "many")
    seconds = time.process_time() - began
    with capsys.disabled():
        print(f"\nreport of {IMAGES} images: page {many[0]:,} bytes, {seconds:.0f} s")
    assert many[0] < min(PAGE, 1.2 * few[0])
    assert many[1] < min(NUMBERS, 2 * few[1])
    assert many[2] == few[2] == MOST_PANELS
    assert seconds < SECONDS
