"""Which aimed attacks a table shows, and what it says of framing."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console
from support.colour_blinded import SPEC, ColourBlinded, Decolour, authentic_sample, forged_sample

from ansm_plugin.attacks.aims import AIMS
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.results import DEFENDED, T1, Rows
from ansm_plugin.report.page import page
from ansm_plugin.report.shown import framing_cells, framing_line, left_out_line, shown
from ansm_plugin.report.table import print_table


@pytest.fixture(name="aimed_at", scope="module")
def _aimed_at() -> Evaluation:
    defended = DefendedLocalizer(ColourBlinded(), Decolour(), SPEC).eval()
    config = EvaluationConfig(
        attacks=("pgd",), eps_255=(4, 8), steps=2, white_box_steps=2, aims=AIMS,
        aim_attacks=("pgd", "mifgsm"),
    )  # fmt: skip
    samples = [forged_sample(), authentic_sample(), forged_sample(1, 20)]
    return evaluate(defended, samples, config)


def _printed(evaluation: Evaluation) -> str:
    stream = StringIO()
    print_table(evaluation, Console(file=stream, width=100))
    return stream.getvalue()


def test_of_each_aim_the_attack_that_leaves_least_is_shown(aimed_at: Evaluation) -> None:
    found = shown(aimed_at.rows)
    for threat, radii in (("T1", (4, 8)), ("T4", (8,))):
        for eps in radii:
            for aim in AIMS:
                every = aimed_at.rows.only(threat=threat, eps_255=eps, defence=DEFENDED)  # type: ignore[arg-type]
                least = min((r for r in every if r.aim == aim), key=lambda row: row.f1)
                rows = [r for r in found.only(threat=threat, eps_255=eps) if r.aim == aim]  # type: ignore[arg-type]
                assert {r.attack for r in rows} == {least.attack}
    assert [r for r in found if r.aim is None] == [r for r in aimed_at.rows if r.aim is None]
    assert shown(Rows(found)) == found


def test_rows_without_aims_are_all_shown(evaluation: Evaluation) -> None:
    assert shown(evaluation.rows) == evaluation.rows
    assert framing_line(evaluation.framing) == left_out_line(evaluation.rows) == ""
    assert "Framing" not in _printed(evaluation) + page(evaluation)


def test_framing_is_said_on_terminal_and_page(aimed_at: Evaluation) -> None:
    """The worst T1 figure of the defended localizer in a line, and every row in a table."""
    line = framing_line(aimed_at.framing)
    assert line.startswith("Framing: on 4 authentic images under ")
    title = "Framing: authentic photographs attacked with a wrong mask"
    for text in (_printed(aimed_at), page(aimed_at)):
        assert title in text
        assert "mark" in text
    cells = list(framing_cells(aimed_at.framing))
    assert len(cells) == len(aimed_at.framing)
    assert [c[-1] for c in cells[:2]] == ["-", "-"]
    assert line in _printed(aimed_at).replace("\n", " ") or line[:60] in _printed(aimed_at)


def test_images_without_a_partner_are_counted(aimed_at: Evaluation) -> None:
    assert left_out_line(aimed_at.rows).startswith("Swapped noise: 1 image had")
    assert left_out_line(aimed_at.rows) in page(aimed_at)
    whole = Rows(replace(row, images=5) for row in aimed_at.rows)
    assert left_out_line(whole) == ""
    swap = [row for row in aimed_at.rows.only(threat=T1) if row.aim == "swap"]
    assert {row.images for row in swap} == {4}
