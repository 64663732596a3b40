"""The figures of the attack score, from made-up scores."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from lab import score


def test_auc_counts_pairs_and_a_tie_as_half() -> None:
    clean = torch.tensor([0.0, 1.0])
    assert score.auc(clean, torch.tensor([2.0])) == 1
    assert score.auc(clean, torch.tensor([1.0])) == 0.75
    assert score.auc(clean, torch.tensor([-1.0])) == 0


def test_caught_allows_one_false_alarm_in_a_hundred() -> None:
    clean = torch.arange(200.0)
    assert score.caught(clean, torch.tensor([197.0, 198.5, 500.0])) == pytest.approx(2 / 3)


def test_risk_falls_where_the_score_leaves_out_what_fails() -> None:
    seen = score.Seen(*map(torch.tensor, ([5.0, -1.0], [0.0, 1.0], [0.0, 1.0])))
    assert score.risk(seen) == [(0.5, 0.0), (1.0, 0.5)]
    assert seen.gated.tolist() == [0.0, 1.0]


def test_tables_and_picture_need_every_group_once(tmp_path: Path) -> None:
    groups = [*score.HARMLESS, "authentic"]
    groups += [f"{a}@{e:g}" for a in score.ATTACKS for e in score.EPS]
    groups += [f"{n}@{e:g}" for n in ("T4", "gate", "joint 1") for e in score.WHITE_EPS]
    groups += [f"{score.LARGE} px {n}" for n in ("none", "jpeg-90", "pgd@4")]
    values = torch.linspace(0, 1, 5, dtype=torch.float64)
    found = {g: score.Seen(values + i, values, values) for i, g in enumerate(groups)}
    figures = score.tables(found)
    assert figures["roc"]["T1@4"]["none"]["auc"] == 1
    assert score.markdown(figures).count("\n| joint 1@8 |") == 2
    score.draw(found, figures, tmp_path / "score.png")
    with Image.open(tmp_path / "score.png") as picture:
        assert picture.width == 1200
