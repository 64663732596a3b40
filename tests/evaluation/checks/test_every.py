"""All reasons to distrust an evaluation, in one list."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.colour_blinded import forged_sample
from torch import nn

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig
from ansm_plugin.evaluation.checks import every
from ansm_plugin.evaluation.checks.every import every_alarm
from ansm_plugin.evaluation.results import BARE, T1, Rows

Defended = DefendedLocalizer[nn.Module]


def test_an_evaluation_says_what_the_one_list_says(
    defended: Defended, quick: EvaluationConfig, evaluation: Evaluation
) -> None:
    found = every_alarm(evaluation.rows, defended, forged_sample(), quick)
    assert found == evaluation.alarms == ()


def test_rows_gradient_and_search_are_all_asked(
    defended: Defended,
    quick: EvaluationConfig,
    evaluation: Evaluation,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Alarms of rows come first."""
    idle = Rows(
        replace(row, f1=1.0) if (row.threat, row.defence) == (T1, BARE) else row
        for row in evaluation.rows
    )
    monkeypatch.setattr(every, "probe", lambda *_: ("gradient",))
    monkeypatch.setattr(every, "search_doubts", lambda *_: iter(("search",)))
    *rows, gradient, search = every_alarm(idle, defended, forged_sample(), quick)
    assert (gradient, search) == ("gradient", "search")
    assert len(rows) == 6
    assert all("does nothing" in alarm for alarm in rows)
