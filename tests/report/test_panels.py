"""Pictures of an evaluation: the panel of an image and the summary plot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ansm_plugin import wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import Row, Rows
from ansm_plugin.report.panels import Panel, save_panel, save_pictures
from ansm_plugin.report.summary import save_summary
from tests.support.cutting import CUTS, Answered


def _panel(path: Path, mask: torch.Tensor | None = None, title: str = "photo") -> Path:
    forged = torch.zeros(1, 12, 20)
    forged[:, 2:8, 3:9] = 1
    panel = Panel(
        name="photo",
        image=torch.full((3, 12, 20), 0.5),
        noise=torch.zeros(3, 12, 20),
        mask=forged if mask is None else mask,
        bare=1 - forged,
        perturbation=torch.zeros(3, 12, 20),
        defended=forged,
    )
    return save_panel(path, panel, title)


def test_panel_has_six_tiles(tmp_path: Path) -> None:
    """Centres of the tiles: image, noise, truth; inverted mask, perturbation, restored mask."""
    with Image.open(_panel(tmp_path / "panel.png", title="one $ and [two]")) as image:
        grey = np.asarray(image.convert("L"))
    height, width = grey.shape
    assert width > height > 300
    # Of the two rows, at a pixel inside the forged square of each tile.
    across = [round(width * (tile + 6 / 20) / 3) for tile in range(3)]
    top, bottom = round(height * 0.28), round(height * 0.75)
    assert [int(grey[top, x]) for x in across] == pytest.approx([128, 128, 255], abs=2)
    assert [int(grey[bottom, x]) for x in across] == pytest.approx([0, 128, 255], abs=2)


def test_panel_amplifies_noise_twentyfold(tmp_path: Path) -> None:
    """Noise of 1/255 is shown 20 grey levels above middle grey."""
    flat = torch.zeros(3, 8, 8)
    panel = Panel(
        name="",
        image=flat,
        noise=flat + 1 / 255,
        mask=flat[:1],
        bare=flat[:1],
        perturbation=flat - 2 / 255,
        defended=flat[:1],
    )
    path = save_panel(tmp_path / "panel.png", panel, title="")
    with Image.open(path) as image:
        levels = np.bincount(np.asarray(image.convert("L")).ravel(), minlength=256)
    assert levels[146:150].max() > 5000
    assert levels[86:90].max() > 5000


def test_panel_of_an_authentic_image_is_drawn(tmp_path: Path) -> None:
    """An empty mask has no F1 to show and is no error."""
    assert _panel(tmp_path / "panel.png", mask=torch.zeros(1, 12, 20)).stat().st_size > 1000


def test_an_evaluation_by_answers_alone_needs_no_gradient_for_its_pictures(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    sample = Sample(torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16), ("a",))
    config = EvaluationConfig(threats=("T0", "T6"), attacks=("fgsm",))
    drawn = {}
    for name, model in (("detached", Answered(CUTS["detach"])), ("whole", Answered())):
        defended = wrap_with_ansm(model, ansm=ANSM(thin))
        found = save_pictures(defended, [sample], evaluation, config, tmp_path / name)
        drawn[name] = [path.name for path in found]
    assert drawn == {"detached": ["summary.png"], "whole": ["summary.png", "01.png"]}


def test_summary_plot_has_a_curve_per_attack_and_defence(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """In the colour of each attack, and in black for the white box; without its rows without."""

    def drawn(shown: Evaluation) -> list[int]:
        path = save_summary(tmp_path / "summary.png", shown)
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        colours = ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0x00, 0x00, 0x00))
        return [int((pixels == colour).all(1).sum()) for colour in colours]

    def without(leave_out: Callable[[Row], bool]) -> list[int]:
        return drawn(replace(evaluation, rows=Rows(r for r in evaluation.rows if not leave_out(r))))

    first, second, black = drawn(evaluation)
    assert min(first, second) > 300
    assert without(lambda row: row.threat == "T4")[2] < black - 300
    assert without(lambda row: row.attack == "mifgsm")[0] > 300
    assert without(lambda row: row.threat == "T1")[:2] == [0, 0]


def test_pictures_leave_the_callers_pyplot_alone(evaluation: Evaluation, tmp_path: Path) -> None:
    """No figure is registered with pyplot, where it would stay in memory."""
    from matplotlib import pyplot

    save_summary(tmp_path / "summary.png", evaluation)
    _panel(tmp_path / "panel.png")
    assert pyplot.get_fignums() == []
