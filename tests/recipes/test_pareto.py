"""The plot of F1 restored against cost, from made-up evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lab import pareto


def evaluation(f1: dict[str, float], time: dict[str, float]) -> dict[str, Any]:
    """Return the JSON of an evaluation with F1 under attack and cost by defence."""
    rows = [
        {"threat": threat, "attack": attack, "eps_255": eps, "defence": defence, "f1": value}
        for defence, attacked in f1.items()
        for threat, attack, eps, value in (("T0", "none", 0.0, 0.9), ("T1", "worst", 4.0, attacked))
    ]
    cost = {d: {"time_ratio": t, "gmac_ratio": t, "size": [64, 64]} for d, t in time.items()}
    return {"rows": rows, "cost": cost}


def test_picture_and_points_follow_from_the_evaluations(tmp_path: Path) -> None:
    files = {
        "small": evaluation(
            {"none": 0.1, "ansm": 0.8, "JPEG 90": 0.3, "median": 0.2},
            {"ansm": 0.5, "JPEG 90": 0.1, "median": 0.2},
        ),
        "large": evaluation({"none": 0.1, "ansm": 0.85}, {"ansm": 2.0}),
    }
    for name, fields in files.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(fields))
    target = tmp_path / "plots" / "pareto.png"
    pareto.main([str(target), *(f"{name}={tmp_path / name}.json" for name in files)])
    with Image.open(target) as picture:
        assert picture.size[0] > 500
    written = json.loads(target.with_suffix(".json").read_text())
    best = {point["name"]: point["is_best"] for point in written["points"]}
    assert best == {"JPEG 90": True, "median": False, "small": True, "large": True}
    small = next(p for p in written["points"] if p["name"] == "small")
    assert small["recovery"] == pytest.approx(0.7 / 0.8)
    assert small["harm"] == pytest.approx(0)
    assert written["bare"] == {"originals": 0.9, "attacked": 0.1}
