"""An evaluation of a gated pair: the pair with its gate is scored, attacked, kept and named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.cli import main
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.rivals import costs

Defended = DefendedLocalizer[nn.Module]


def gated(defended: Defended, bias: float) -> Defended:
    """Return the pair behind a gate that is shut (below 0) or open for every image."""
    score = AttackScore(weights=(0.0,) * len(FEATURES), bias=bias)
    localizer, ansm, spec = defended.localizer, defended.ansm, defended.spec
    return DefendedLocalizer(localizer, ansm, spec, score=score, gate=True).eval()


def figures(evaluation: Evaluation, threat: str, defence: str) -> list[float]:
    """Return F1 of every row of a threat and a defence."""
    rows = [r for r in evaluation.rows if (r.threat, r.defence) == (threat, defence)]
    assert rows
    return [r.f1 for r in rows]


@pytest.mark.parametrize(("bias", "same_as"), [(-5.0, "none"), (5.0, "ansm")])
def test_a_gate_decides_which_mask_is_scored(
    defended: Defended, sample: Sample, quick: EvaluationConfig, bias: float, same_as: str
) -> None:
    """Shut, it is the bare localizer without harm or help; open, the pair without a gate."""
    plain = evaluate(defended, [sample], quick)
    found = evaluate(gated(defended, bias), [sample], quick)
    assert figures(found, "T1", "ansm") == figures(plain, "T1", same_as)
    assert figures(plain, "T1", "ansm") != figures(plain, "T1", "none")
    assert found.ansm == f"{plain.ansm}, gated"


def test_the_attacker_who_knows_goes_through_the_gate(
    defended: Defended, sample: Sample, quick: EvaluationConfig
) -> None:
    """Behind a shut gate T4 is an attack on the bare localizer, at the radii of T4."""
    through = evaluate(gated(defended, -5.0), [sample], quick)
    bare = evaluate(
        DefendedLocalizer(defended.localizer, nn.Identity(), defended.spec).eval(),
        [sample],
        EvaluationConfig(threats=("T0", "T1"), attacks=("pgd",), eps_255=(8,), steps=4),
    )
    (attacked,) = figures(through, "T4", "ansm")
    assert attacked < 0.5 * figures(through, "T0", "none")[0]
    assert attacked == pytest.approx(figures(bare, "T1", "none")[0], abs=0.05)


def test_finished_parts_of_a_gated_pair_are_no_parts_of_another(
    defended: Defended, sample: Sample, quick: EvaluationConfig, tmp_path: Path
) -> None:
    """Gate and score decide the numbers as weights do."""
    records = tmp_path / "records.jsonl"
    lines = []
    for pair in (defended, gated(defended, 5.0), gated(defended, -5.0), gated(defended, -5.0)):
        evaluate(pair, [sample], quick, records=records)
        lines.append(len(records.read_text().splitlines()))
    once = lines[0]
    assert lines == [once, 2 * once, 3 * once, 3 * once]


def test_the_gate_costs_two_passes_of_the_localizer() -> None:
    """The module alone is what an ungated pair costs."""
    from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer, packaged_ansm
    from ansm_plugin.defended import wrap_with_ansm

    both = [
        wrap_with_ansm(build_localizer(DEFAULT_LOCALIZER), str(packaged_ansm()), gate=gate)
        for gate in (False, True)
    ]
    plain, guarded = (costs(pair, {}, (64, 64))["ansm"] for pair in both)
    assert plain.gmac_ratio is not None
    assert guarded.gmac_ratio == pytest.approx(plain.gmac_ratio + 2, rel=0.01)
    assert guarded.parameters == plain.parameters


def run(tmp_path: Path, *options: str) -> dict[str, Any]:
    """Return the JSON of `ansm evaluate` on four crops."""
    result = tmp_path / "numbers.json"
    few = [
        "--count",
        "4",
        "--threat",
        "T0,T1",
        "--attacks",
        "pgd",
        "--eps",
        "8",
        "--attack-steps",
        "2",
    ]
    assert main(["evaluate", *few, "--baselines", "none", *options, "--json", str(result)]) == 0
    numbers: dict[str, Any] = json.loads(result.read_text())
    return numbers


def test_evaluate_has_the_gate(tmp_path: Path) -> None:
    """Originals come out as bare: the packaged score calls none of them attacked."""
    found = run(tmp_path, "--gate")
    assert found["ansm"].endswith(", gated")
    clean = {r["defence"]: r["f1"] for r in found["rows"] if r["threat"] == "T0"}
    assert clean["ansm"] == clean["none"]
    plain = {r["defence"]: r["f1"] for r in run(tmp_path)["rows"] if r["threat"] == "T0"}
    assert plain["ansm"] != plain["none"]


def test_a_gate_without_a_score_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ANSM that was not calibrated has nothing to judge by."""
    from ansm_plugin.ansm import ANSM
    from ansm_plugin.weights.ansm_file import save_ansm

    weights = tmp_path / "plain.safetensors"
    save_ansm(ANSM("tiny"), weights)
    assert main(["evaluate", "--ansm", str(weights), "--gate", "--count", "2"]) == 2
    assert "ansm calibrate" in capsys.readouterr().err
