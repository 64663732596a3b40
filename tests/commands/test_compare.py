"""`ansm compare`: results side by side."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.colour_blinded import Decolour
from support.compared import *  # noqa: F403 - fixtures, found by their names
from support.compared import COUNT, write_run

from ansm_plugin.cli import main
from ansm_plugin.commands.results import RECORDS, RESULT
from ansm_plugin.evaluation import EvaluationConfig

Capture = pytest.CaptureFixture[str]
Runs = tuple[Path, Path]


def _compared(folder: Path, *runs: Path) -> dict[str, Any]:
    file = folder / "new" / "c.json"
    assert main(["compare", *map(str, runs), "--json", str(file)]) == 0
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def _row(found: dict[str, Any], threat: str, attack: str, defence: str) -> dict[str, Any]:
    (row,) = (
        row
        for row in found["rows"]
        if (row["threat"], row["attack"], row["defence"]) == (threat, attack, defence)
    )
    return dict(row)


def _images(folder: Path, cell: str, defence: str) -> list[float]:
    """Return F1 of each image as the records have it."""
    lines = map(json.loads, (folder / RECORDS).read_text().splitlines())
    (found,) = (line["scores"] for line in lines if line["key"].startswith(cell))
    return list(found[defence]["f1"])


def test_a_difference_is_paired_over_the_images_that_both_share(runs: Runs, tmp_path: Path) -> None:
    """Its interval is that of the differences of single images."""
    first, second = (_images(run, "0 T1 pgd 8 ", "ansm") for run in runs)
    changes = [theirs - mine for mine, theirs in zip(first, second, strict=True)]
    assert min(changes) < max(changes)
    row = _row(_compared(tmp_path, *runs), "T1", "pgd", "ansm")
    (difference,) = row["differences"]
    assert difference["f1"] == pytest.approx(sum(changes) / COUNT)
    assert difference["f1"] == pytest.approx(row["f1"][1] - row["f1"][0])
    assert min(changes) <= difference["low"] < difference["f1"] < difference["high"] <= max(changes)
    assert difference["images"] == difference["photographs"] == COUNT


def test_a_run_differs_from_itself_by_nothing(runs: Runs, tmp_path: Path) -> None:
    """All lines, the worst of all attacks among them, are paired; nothing warns or differs."""
    found = _compared(tmp_path, runs[0], runs[0])
    assert {row["attack"] for row in found["rows"]} >= {"pgd", "mifgsm", "worst", "none"}
    nothing = {"f1": 0, "low": 0, "high": 0, "images": COUNT, "photographs": COUNT}
    assert all(row["differences"] == [nothing] for row in found["rows"])
    assert found["warnings"] == found["settings"] == []


def test_what_differs_in_how_they_were_made_is_named(
    runs: Runs, tmp_path: Path, capsys: Capture
) -> None:
    """Once each; where the files lie decides nothing."""
    found = _compared(tmp_path, *runs)
    settings = {setting["name"]: setting["values"] for setting in found["settings"]}
    assert settings == {
        "ANSM": ["Decolour", "HalfDecolour"],
        "--steps": ["3", "5"],
        "steps of T1 pgd": ["3", "5"],
    }
    said = capsys.readouterr().out
    assert "| --steps " in said
    assert f"A: {runs[0]} (colour-blinded, ANSM Decolour, {COUNT} images)" in said


def test_what_only_one_has_is_a_table_of_its_own(
    runs: Runs, tmp_path: Path, capsys: Capture
) -> None:
    row = _row(_compared(tmp_path, *runs), "T1", "mifgsm", "ansm")
    assert row["f1"][1] is None
    assert row["differences"] == [None]
    shared, partial = capsys.readouterr().out.split("F1 that not every run has")
    assert "mifgsm" not in shared.split("F1, same attack and defence")[1]
    assert "| mifgsm " in partial
    assert "Lines that not every run has: 4 (A lacks 0, B lacks 4)." in partial


def test_numbers_alone_have_no_interval_and_it_is_said(
    runs: Runs, tmp_path: Path, capsys: Capture
) -> None:
    """A copy of the JSON under another name came without its records."""
    copy = Path(shutil.copy(runs[1] / RESULT, tmp_path / "b.json"))
    (difference,) = _row(_compared(tmp_path, runs[0], copy), "T1", "pgd", "ansm")["differences"]
    assert difference["low"] is None
    assert difference["images"] is None
    said = capsys.readouterr().out
    assert f"WARNING: No interval of differences: {copy} came without records" in said


def test_records_of_other_numbers_are_not_used(runs: Runs, tmp_path: Path) -> None:
    """Values whose mean is not the figure of the row belong to another run."""
    copy = Path(shutil.copytree(runs[1], tmp_path / "copy"))
    shutil.copy(runs[0] / RECORDS, copy / RECORDS)
    found = _compared(tmp_path, runs[0], copy)
    assert _row(found, "T1", "pgd", "ansm")["differences"][0]["images"] is None
    assert _row(found, "T0", "none", "none")["differences"][0]["images"] == COUNT


def test_other_images_are_warned_of(runs: Runs, tmp_path: Path) -> None:
    """And only those at the same place with the same forged area are paired."""
    plan = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=3, white_box_steps=0)
    fewer = write_run(tmp_path / "fewer", Decolour(), plan, count=4)
    found = _compared(tmp_path, runs[0], fewer)
    (warning,) = found["warnings"]
    assert warning.startswith(f"Different images: {runs[0]} has 6 images (6 forged), {fewer} has 4")
    assert _row(found, "T0", "none", "ansm")["differences"][0]["images"] == 4


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "Differences are over 1 image that both runs share. Fewer than 3 photographs have no"),
        (4, "Differences are over 4 images that both runs share."),
    ],
)
def test_what_differences_are_over_is_said(
    runs: Runs, tmp_path: Path, capsys: Capture, count: int, said: str
) -> None:
    plan = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=3, white_box_steps=0)
    fewer = write_run(tmp_path / "fewer", Decolour(), plan, count=count)
    assert main(["compare", str(runs[0]), str(fewer)]) == 0
    found = " ".join(capsys.readouterr().out.split())
    assert said in found
    assert ("Fewer than 3" in found) == (count < 3)
    assert f"{count} image{'' if count == 1 else 's'} ({count} forged)" in found


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("localizer", "another", "Different localizers: "),
        ("clean", 0.25, "Different images or weights: "),
    ],
)
def test_other_localizers_are_warned_of(
    runs: Runs, tmp_path: Path, field: str, value: Any, said: str
) -> None:
    """By name, and by their figure on original images where the name is the same."""
    copy = Path(shutil.copytree(runs[0], tmp_path / "copy"))
    fields = json.loads((copy / RESULT).read_text())
    if field == "localizer":
        fields[field] = value
    else:
        bare = next(r for r in fields["rows"] if (r["threat"], r["defence"]) == ("T0", "none"))
        bare["f1"] = value
    (copy / RESULT).write_text(json.dumps(fields))
    (warning,) = _compared(tmp_path, runs[0], copy)["warnings"]
    assert warning.startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "does not exist; name a result"),
        ("{", "is no JSON"),
        ("[]", "it must be a table"),
        ('{"rows": []}', "it needs every field"),
    ],
)
def test_what_is_no_result_is_refused(
    runs: Runs, tmp_path: Path, capsys: Capture, content: str | None, said: str
) -> None:
    file = tmp_path / "x.json"
    if content is not None:
        file.write_text(content)
    assert main(["compare", str(runs[0]), str(file)]) == 2
    assert said in capsys.readouterr().err


def test_two_are_needed_and_an_empty_folder_is_none(
    runs: Runs, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["compare", str(runs[0])]) == 2
    assert "results given: 1; name 2 to 26" in capsys.readouterr().err
    assert main(["compare", str(runs[0]), str(tmp_path)]) == 2
    assert f"{tmp_path} holds no {RESULT}" in capsys.readouterr().err


def test_the_page_holds_every_line_and_is_replaced_with_force_alone(
    runs: Runs, tmp_path: Path, capsys: Capture
) -> None:
    """Figures, what warns, what differs; what names hold is text."""
    copy = Path(shutil.copytree(runs[1], tmp_path / "copy"))
    fields = json.loads((copy / RESULT).read_text())
    (copy / RESULT).write_text(json.dumps({**fields, "localizer": "<b>"}))
    words = ["compare", str(runs[0]), str(copy), "--output", str(tmp_path / "page")]
    assert main(words) == 0
    text = (tmp_path / "page" / "comparison.html").read_text("utf-8")
    found = _compared(tmp_path, runs[0], copy)
    assert text.count("<td>T") == len(found["rows"])
    assert "Different localizers: " in text
    assert "&lt;b&gt;" in text
    assert "<b>" not in text
    assert "<td>--steps</td><td>3</td><td>5</td>" in text
    assert "over 6 images of 6 photographs that both share" in text
    capsys.readouterr()
    assert main(words) == 2
    assert "pass --force to replace it" in capsys.readouterr().err
    assert main([*words, "--force"]) == 0
