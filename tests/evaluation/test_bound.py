"""T4 as a bound, the worst of T2, and balls of two norms that are never compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.config import BOUND_ATTACKS, full, quick
from ansm_plugin.evaluation.noise import Gradient
from ansm_plugin.evaluation.plan import plan
from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    T1,
    T2,
    T4,
    WORST,
    WORST_L2,
    Row,
    Rows,
    norm_of,
)
from ansm_plugin.report.page import headline
from ansm_plugin.report.table import summary_lines

Defended = DefendedLocalizer[nn.Module]


def lines(evaluation: Evaluation) -> str:
    """Return the summary as it is printed."""
    return "\n".join(summary_lines(evaluation))


def test_the_full_white_box_searches_at_every_radius() -> None:
    """APGD on margin, Dice and Jensen-Shannon, 100 steps and 3 restarts each."""
    plain = [
        (cell.noise.name, cell.eps_255, cell.noise.spec.steps, cell.noise.spec.restarts)
        for cell in plan(full())
        if isinstance(cell.noise, Gradient)
        and cell.threat == T4
        and cell.attack in BOUND_ATTACKS
        and not cell.framed
    ]
    assert plain == [
        (name, eps, 100, 3)
        for name in ("apgd-margin", "apgd-dice", "apgd-js")
        for eps in (1.0, 2.0, 4.0, 8.0)
    ]


def test_other_ways_of_the_white_box_run_once() -> None:
    """What helps the first attack, and what is told a wrong mask, starts anew no further."""
    others = [
        cell.noise.spec.restarts
        for cell in plan(full())
        if isinstance(cell.noise, Gradient)
        and cell.threat == T4
        and cell.attack not in BOUND_ATTACKS
    ]
    assert len(others) > 4
    assert set(others) == {1}


def test_each_restart_is_a_run_of_its_own(defended: Defended, sample: Sample) -> None:
    """The localizer is asked as often again, and the figure of the JSON is of all runs."""
    calls: list[int] = []
    defended.localizer.register_forward_hook(lambda *_: calls.append(1))
    config = EvaluationConfig(
        threats=("T0", "T4"), white_box_attacks=("pgd",), white_box_steps=5, white_box_eps_255=(4,)
    )
    asked, left = [], []
    in_cells: list[int] = []  # the checks behind them share what they ask for

    def progress(phase: str, done: int, total: int, logs: object) -> None:
        if phase == "evaluate":
            in_cells.append(len(calls))

    for runs in (1, 2, 3):
        calls.clear()
        plan = replace(config, white_box_restarts=runs)
        found = evaluate(defended, [sample], plan, progress=progress)
        asked.append(in_cells[-1])
        left.append(found.rows[-1].f1)
    assert asked[2] - asked[1] == asked[1] - asked[0] > 5
    assert left == sorted(left, reverse=True)


def test_the_printed_figure_is_the_worst_of_each_image(defended: Defended, sample: Sample) -> None:
    """Every attack at every radius, and below them the row that is printed."""
    config = EvaluationConfig(
        threats=("T0", "T4"),
        white_box_attacks=("pgd", "mifgsm"),
        white_box_eps_255=(1, 2),
        white_box_steps=2,
    )
    found = evaluate(defended, [sample], config)
    white = found.rows.only(threat=T4)
    assert [row.key for row in white] == [
        *("pgd@1", "pgd@2", "mifgsm@1", "mifgsm@2"),
        *("worst@1", "worst@2"),
    ]
    for eps in (1.0, 2.0):
        *single, worst = white.only(eps_255=eps)
        assert worst.f1 <= min(row.f1 for row in single)
    printed = lines(found)
    assert "(worst of all attacks, 2 steps, 2/255)" in printed
    assert f"leaves the defended localizer F1 {white[-1].f1:.3f}" in printed
    assert f"smaller radii: F1 {white[-2].f1:.3f} at 1/255." in printed


def test_an_estimate_is_called_one(evaluation: Evaluation) -> None:
    """In the JSON, on the terminal and on the page; results that do not say stay as they are."""
    assert evaluation.as_json()["summary"]["white_box"] == "estimate"
    assert "White box (an estimate" in lines(evaluation)
    assert "(pgd@8/255): an estimate" in headline(evaluation)
    bound = replace(evaluation, summary={**evaluation.summary, "white_box": "bound"})
    assert "White box (a bound: APGD on margin, Dice" in lines(bound)
    assert "(pgd@8/255): a bound" in headline(bound)
    summary = dict(evaluation.summary)
    del summary["white_box"]
    silent = replace(evaluation, summary=summary)  # type: ignore[arg-type]
    assert "White box: an attacker" in lines(silent)
    assert headline(silent).endswith("(pgd@8/255).")
    assert quick().white_box == "estimate"


def test_the_worst_of_t2_is_taken_per_image(defended: Defended, sample: Sample) -> None:
    """Of attacks of one radius, as in T1; one attack alone is its own."""
    config = EvaluationConfig(
        threats=("T0", "T2"), unseen=("fgsm@8", "hide@8", "region@8", "pgd@12"), steps=2
    )
    rows = evaluate(defended, [sample], config).rows.only(threat=T2)
    assert [row.key for row in rows.only(defence=BARE)] == [
        *("fgsm@8", "hide@8", "region@8", "pgd@12"),
        "worst@8",
    ]
    for defence in (BARE, DEFENDED):
        single = rows.only(defence=defence, eps_255=8)
        (worst,) = single.only(attack=WORST)
        assert worst.f1 <= min(row.f1 for row in single)


@pytest.mark.parametrize("threat", [T1, T2, T4])
def test_two_norms_have_a_worst_each(defended: Defended, sample: Sample, threat: str) -> None:
    """A radius in l2 is a root mean square, so the two balls are not the same."""
    names = ("pgd", "mifgsm", "pgd-l2", "apgd-l2")
    config = EvaluationConfig(
        threats=("T0", threat),  # type: ignore[arg-type]
        attacks=names, eps_255=(2,), steps=2, unseen=tuple(f"{name}@2" for name in names),
        white_box_attacks=names, white_box_eps_255=(2,), white_box_steps=2,
    )  # fmt: skip
    rows = Rows(r for r in evaluate(defended, [sample], config).rows if r.threat == threat)
    for name, norm in ((WORST, "linf"), (WORST_L2, "l2")):
        for row in rows.only(attack=name):
            same = [r.f1 for r in rows.only(defence=row.defence) if r.norm == norm]
            assert row.f1 == min(same)
    assert {WORST, WORST_L2} < {row.attack for row in rows}
    if threat == T4:
        assert [row.norm for row in rows.strongest_white_box()] == ["linf"]


@pytest.mark.parametrize(
    ("attack", "norm"),
    [
        ("pgd-l2", "l2"),
        ("apgd-l2, decoy", "l2"),
        ("pgd-l2+jpeg-90", "l2"),
        ("pgd-l2 from twin", "l2"),
        (WORST_L2, "l2"),
        (WORST, "linf"),
        ("pgd, warm-start", "linf"),
        ("features from encoder", "linf"),
        ("square", "linf"),
        ("a name of another release", "linf"),
    ],
)
def test_a_name_tells_its_norm(attack: str, norm: str) -> None:
    assert norm_of(attack) == norm


def test_a_row_of_l2_counts_where_there_is_no_other(evaluation: Evaluation) -> None:
    (white,) = evaluation.rows.only(threat=T4)
    far: Row = replace(white, attack="pgd-l2", f1=0.0)
    near = replace(white, f1=0.2)
    assert Rows((far, near)).strongest_white_box() == [near]
    assert Rows((far,)).strongest_white_box() == [far]
    summary = {**evaluation.summary, "f1_white_box": {"pgd-l2@8": 0.0, "pgd@8": 0.2}}
    assert "leaves F1 0.200 (pgd@8/255)" in headline(replace(evaluation, summary=summary))  # type: ignore[arg-type]
    assert torch.isfinite(torch.tensor(near.f1))
