"""No sentence of a report breaks where a number is missing, and titles are not cut."""

from __future__ import annotations

import re
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from rich.console import Console

from ansm_plugin.data.listing import LeftOut
from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.framing import FramingRow
from ansm_plugin.evaluation.results import BARE, DEFENDED, T0, Rows
from ansm_plugin.report import summary
from ansm_plugin.report.page import MOST_LEFT_OUT, headline, page
from ansm_plugin.report.shown import framing_line
from ansm_plugin.report.summary import save_summary
from ansm_plugin.report.table import print_table, summary_lines
from ansm_plugin.report.words import given_back, harm_words, photographs


def _said(evaluation: Evaluation) -> str:
    stream = StringIO()
    print_table(evaluation, Console(file=stream, width=100))
    return stream.getvalue()


def _with(evaluation: Evaluation, **summary: Any) -> Evaluation:
    found = evaluation.summary.copy()
    found.update(summary)  # type: ignore[typeddict-item]
    return replace(evaluation, summary=found)


@pytest.mark.parametrize(
    ("recovery", "said"),
    [
        ({}, "No attacker who does not know the module was run."),
        ({"a@8": None}, "Attackers who do not know the module took nothing"),
        ({"a@8": 0.5, "b@8": None}, "ANSM gives back 50%."),
        ({"a@8": 0.5, "b@8": 0.501}, "ANSM gives back 50%."),
        ({"a@8": 0.5, "b@8": -0.25}, "ANSM gives back -25% to 50%."),
    ],
)
def test_recovery_is_a_sentence_whatever_was_measured(
    evaluation: Evaluation, recovery: dict[str, float | None], said: str
) -> None:
    assert said in given_back(recovery)
    assert said in headline(_with(evaluation, recovery=recovery))


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (0.0123, "ANSM costs 0.012 (harm +0.012)"),
        (-0.0123, "ANSM adds 0.012 (harm -0.012)"),
        (-0.0001, "ANSM costs none of it (harm +0.000)"),
    ],
)
def test_harm_says_which_way_it_goes(evaluation: Evaluation, harm: float, said: str) -> None:
    """What helps is no "loss of -0.012"."""
    assert harm_words(harm) == said
    assert said in headline(_with(evaluation, harm=harm))


def test_without_recovery_the_terminal_says_why(evaluation: Evaluation) -> None:
    """Not with silence."""
    originals = replace(evaluation, rows=evaluation.rows.only(threat=T0))
    lines = list(summary_lines(_with(originals, recovery={})))
    assert lines[0] == "Recovery: none to tell. No attacker who does not know the module was run."


def test_a_missing_figure_is_a_dash(evaluation: Evaluation) -> None:
    """Neither an error nor "no damage": nobody measured it."""
    found = _with(evaluation, recovery={"mifgsm@8": 0.5})
    (line,) = (
        line for line in _said(found).splitlines() if re.match(r"\| T1 +\| pgd +\| +8/", line)
    )
    assert line.split("|")[-2].strip() == "-"
    t1 = page(found).split("T1: the attacker")[1].split("T4: the attacker")[0]
    assert "no damage" not in t1


def test_a_row_without_the_defence_is_shown(evaluation: Evaluation) -> None:
    bare = evaluation.rows.only(threat="T4")[0]
    alone = replace(bare, defence=BARE, attack="lonely", f1=0.4321)
    text = _said(replace(evaluation, rows=Rows((*evaluation.rows, alone))))
    (line,) = (line for line in text.splitlines() if "lonely" in line)
    assert [cell.strip() for cell in line.split("|")[4:7]] == ["0.432", "-", "-"]


def test_framing_without_the_bare_localizer_is_a_sentence() -> None:
    clean = FramingRow(
        threat="T0", attack="none", eps_255=0, steps=1, defence=DEFENDED, images=2, marked=0.1,
        inside=0.0, outside=0.0, f1=0.0, chance_f1=0.0,
    )  # fmt: skip
    attacked = replace(clean, threat="T1", attack="pgd, decoy", eps_255=8, inside=0.25, aim="decoy")
    assert framing_line([clean, attacked]).endswith("outside: +0.250 above clean (0 is none).")


def test_one_photograph_is_no_plural() -> None:
    assert [photographs(1), photographs(2)] == ["1 photograph", "2 photographs"]


def test_what_was_left_out_is_named(evaluation: Evaluation) -> None:
    """Entries of folders with their reasons, the number beyond them, and threats not run."""
    entries = [LeftOut(file=f"{i}.txt", reason="no image") for i in range(MOST_LEFT_OUT + 2)]
    text = page(replace(evaluation, left_out=tuple(entries)))
    assert f"<li>{MOST_LEFT_OUT - 1}.txt: no image</li>" in text
    assert f"<li>{MOST_LEFT_OUT}.txt" not in text
    assert "And 2 more" in text
    assert "Not run: T2 (" in text
    assert "not used" not in page(evaluation)


def test_a_long_name_is_not_cut_off_the_plot(
    evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every text of it lies inside the picture."""
    name = "smp:unet@/data/PROJECTS/forensics/" + "a-long-name-of-a-checkpoint" * 3 + ".safetensors"
    drawn: list[Figure] = []
    monkeypatch.setattr(summary, "save_figure", lambda figure, path: drawn.append(figure))
    save_summary(tmp_path / "s.png", replace(evaluation, localizer=name))
    (figure,) = drawn
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.canvas.draw()
    titles = [figure._suptitle, *(axes.title for axes in figure.axes)]  # type: ignore[attr-defined]
    boxes = [text.get_window_extent(renderer) for text in titles if text and text.get_text()]
    assert len(boxes) == 1
    assert boxes[0].x0 >= 0
    assert boxes[0].x1 <= figure.bbox.x1
    assert boxes[0].y1 <= figure.bbox.y1
