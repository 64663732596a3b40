"""Evaluations as JSON, table and pictures."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import Evaluation
from ansm_plugin.report.panels import save_panel
from ansm_plugin.report.summary import save_summary
from ansm_plugin.report.table import print_table
from ansm_plugin.system.files import write_json


def _printed(evaluation: Evaluation) -> str:
    stream = StringIO()
    print_table(evaluation, Console(file=stream, width=80))
    return stream.getvalue()


def _line(text: str, *words: str) -> str:
    (line,) = (line for line in text.splitlines() if all(word in line for word in words))
    return line


def _panel(path: Path, mask: torch.Tensor | None = None, title: str = "photo") -> Path:
    forged = torch.zeros(1, 12, 20)
    forged[:, 2:8, 3:9] = 1
    return save_panel(
        path,
        image=torch.full((3, 12, 20), 0.5),
        noise=torch.zeros(3, 12, 20),
        mask=forged if mask is None else mask,
        bare=1 - forged,
        perturbation=torch.zeros(3, 12, 20),
        defended=forged,
        title=title,
    )


def test_json_reads_back_equal(evaluation: Evaluation, tmp_path: Path) -> None:
    """The file holds exactly the evaluation, in a folder made for it."""
    path = write_json(tmp_path / "new" / "result.json", evaluation.as_json())
    assert json.loads(path.read_text()) == json.loads(json.dumps(evaluation.as_json()))
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_an_unwritable_path_is_one_clear_error(evaluation: Evaluation, tmp_path: Path) -> None:
    """A file in the place of the folder is a ConfigError that names the target."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"cannot write .*result\.json"):
        write_json(tmp_path / "file" / "result.json", evaluation.as_json())


def test_a_full_disk_keeps_the_old_file(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the new file cannot be completed, the earlier result stays and no draft is left."""
    target = tmp_path / "result.json"
    target.write_text("old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(ConfigError, match="No space left"):
        write_json(target, evaluation.as_json())
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"]
    assert target.read_text() == "old"


def test_table_shows_bare_and_defended_f1_with_recovery(evaluation: Evaluation) -> None:
    """Each attack is one line of 80 columns with both F1 and the recovery."""
    text = _printed(evaluation)
    bare, defended = next(pair for pair in evaluation.pairs() if pair[0].key == "pgd@8")
    share = evaluation.summary["recovery"]["pgd@8"]
    line = _line(text, "| T1 ", "| pgd ", "8/255")
    assert [cell.strip() for cell in line.split("|")][4:6] == [
        f"{bare.f1:.3f}",
        f"{defended.f1:.3f}",
    ]
    assert f"{share:.3f} |" in line
    assert all(len(row) <= 80 for row in text.splitlines() if row.startswith(("|", "+")))


def test_summary_says_the_white_box_figure_in_plain_words(evaluation: Evaluation) -> None:
    """One whole line says who the attacker is and what is left of F1."""
    left = evaluation.summary["f1_white_box"]["pgd@8"]
    line = _line(_printed(evaluation), "knows the module")
    assert line.endswith(f"(PGD, 4 steps, 8/255) leaves the defended localizer F1 {left:.3f}.")
    assert "Harm: " in _printed(evaluation)


def test_false_positives_are_shown_where_measured(evaluation: Evaluation) -> None:
    """Authentic images have a line of their own; without them there is none."""
    assert "Authentic" not in _printed(evaluation)
    rows = [replace(row, false_positive_share=0.125) for row in evaluation.rows]
    text = _printed(replace(evaluation, rows=tuple(rows)))
    assert "12.50% of pixels falsely marked bare, 12.50% defended" in text


def test_names_and_alarms_are_printed_as_they_are(evaluation: Evaluation) -> None:
    """Square brackets in names and alarms are text, not markup."""
    text = _printed(replace(evaluation, localizer="a[bold]b", alarms=("c[red]d",)))
    assert "a[bold]b" in text
    assert "ALARM: c[red]d" in text


def test_an_idle_attack_has_no_recovery(evaluation: Evaluation) -> None:
    """Where the attack took nothing the table says so instead of a ratio."""
    recovery = {**evaluation.summary["recovery"], "pgd@8": None}
    changed = replace(evaluation, summary={**evaluation.summary, "recovery": recovery})
    assert "no damage" in _line(_printed(changed), "| T1 ", "| pgd ", "8/255")


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
    path = save_panel(
        tmp_path / "panel.png",
        image=flat,
        noise=flat + 1 / 255,
        mask=flat[:1],
        bare=flat[:1],
        perturbation=flat - 2 / 255,
        defended=flat[:1],
        title="",
    )
    with Image.open(path) as image:
        levels = np.bincount(np.asarray(image.convert("L")).ravel(), minlength=256)
    assert levels[146:150].max() > 5000
    assert levels[86:90].max() > 5000


def test_panel_of_an_authentic_image_is_drawn(tmp_path: Path) -> None:
    """An empty mask has no F1 to show and is no error."""
    assert _panel(tmp_path / "panel.png", mask=torch.zeros(1, 12, 20)).stat().st_size > 1000


def test_summary_plot_has_a_curve_per_attack_and_defence(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """The plot is a PNG in which each attack's colour and the white box's black are seen."""
    path = save_summary(tmp_path / "summary.png", evaluation)
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)):
        assert (pixels == colour).all(1).sum() > 300


def test_pictures_leave_the_callers_pyplot_alone(evaluation: Evaluation, tmp_path: Path) -> None:
    """No figure is registered with pyplot, where it would stay in memory."""
    from matplotlib import pyplot

    save_summary(tmp_path / "summary.png", evaluation)
    _panel(tmp_path / "panel.png")
    assert pyplot.get_fignums() == []
