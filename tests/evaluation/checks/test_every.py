"""All reasons to distrust an evaluation, in one list."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from support.colour_blinded import SPEC, forged_sample
from torch import Tensor, nn

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
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


def test_an_evaluation_under_inference_mode_is_the_same(
    defended: Defended, quick: EvaluationConfig, evaluation: Evaluation
) -> None:
    """Whoever calls it so does not switch off the gradients of the attacks."""
    with torch.inference_mode():
        found = evaluate(defended, [forged_sample()], quick)
    assert (found.rows, found.alarms) == (evaluation.rows, evaluation.alarms)


def test_saturated_probabilities_are_told_without_a_white_box() -> None:
    """Under T0 and T1 alone nothing else would say that PGD had hardly any gradient."""

    class Sure(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.sigmoid(2000 * (inputs.mean(1, keepdim=True) - 0.5))

    spec = replace(SPEC, activation="sigmoid")
    config = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=3, threats=("T0", "T1"))
    defended = DefendedLocalizer(Sure(), nn.Identity(), spec).eval()
    found = evaluate(defended, [forged_sample()], config)
    assert any("attack its logits" in alarm.lower() for alarm in found.alarms)
