"""Rows that are asked for, and results that are read back as they were written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation import Evaluation, Row
from ansm_plugin.evaluation.cost import Cost
from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, T4, WORST, Rows

RESULTS = Path(__file__).parents[2] / "recipes" / "lab" / "results"
COST = Cost(parameters=3, gmac=0.5, gmac_ratio=None, time_ratio=1.5, size=(16, 32))


def kept() -> Iterator[Path]:
    """Yield the files of evaluations that were written by earlier releases."""
    for path in sorted(RESULTS.glob("*.json")):
        fields = json.loads(path.read_text())
        if isinstance(fields, dict) and {"rows", "summary", "alarms"} <= fields.keys():
            yield path


def behind_a_file(fields: dict[str, Any]) -> Any:
    """Return what comes back from JSON."""
    return json.loads(json.dumps(fields))


def test_an_evaluation_comes_back_from_its_json(evaluation: Evaluation) -> None:
    whole = replace(evaluation, cost={DEFENDED: COST}, alarms=("one", "two"))
    assert Evaluation.from_json(behind_a_file(whole.as_json())) == whole
    assert Evaluation.from_json(behind_a_file(evaluation.as_json())) == evaluation


def test_a_row_comes_back_from_its_json(evaluation: Evaluation) -> None:
    rows = [replace(row, f1_by_area=(0.1, 0.2)) for row in evaluation.rows]
    assert [Row.from_json(behind_a_file(row.as_json())) for row in rows] == rows


def test_results_of_earlier_releases_are_read() -> None:
    paths = list(kept())
    assert len(paths) > 10
    for path in paths:
        fields = json.loads(path.read_text())
        assert behind_a_file(Evaluation.from_json(fields, path.name).as_json()) == fields


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("images", "3", "result.json: images is '3'; it must be of type int"),
        ("image", 3, "unknown field in result.json 'image'. Nearest: images"),
        ("alarms", None, "result.json: alarms is None; it must be a list"),
        ("summary", {}, "result.json: summary has no f1_clean"),
        ("rows", [{"threat": "T0"}], "result.json: rows, entry 1 has no attack, auc"),
        ("rows", [{"threat": "T9"}], "value of result.json: rows, entry 1: threat 'T9'"),
        ("cost", {"ansm": {"gmac": 1}}, "result.json: cost: ansm has no "),
    ],
)
def test_a_wrong_result_is_named(
    evaluation: Evaluation, field: str, value: object, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Evaluation.from_json(evaluation.as_json() | {field: value}, "result.json")


def test_a_missing_field_is_named(evaluation: Evaluation) -> None:
    fields = evaluation.as_json()
    del fields["versions"]
    with pytest.raises(ConfigError, match="evaluation has no versions"):
        Evaluation.from_json(fields)


def test_rows_are_asked_for_by_what_they_are(evaluation: Evaluation) -> None:
    rows = evaluation.rows
    (found,) = rows.only(threat=T1, attack="pgd", defence=BARE, eps_255=8)
    assert (found.threat, found.attack, found.defence, found.eps_255) == (T1, "pgd", BARE, 8)
    assert rows.only() == rows
    assert isinstance(rows.only(threat=T1), Rows)
    assert {row.attack for row in rows.only(eps_255=0)} == {NO_ATTACK}
    assert rows.only(threat=T1, attack="none") == ()


def test_rows_answer_what_follows_from_them(evaluation: Evaluation) -> None:
    rows = evaluation.rows
    assert rows.clean(DEFENDED) == rows[1]
    keys = [(bare.key, bare.defence, defended.defence) for bare, defended in rows.pairs()]
    assert keys == [
        (f"{name}@{eps}", BARE, DEFENDED) for name in ("pgd", "mifgsm", WORST) for eps in (4, 8)
    ]
    strong, weak = (replace(rows.only(threat=T4)[0], eps_255=4.0, f1=f1) for f1 in (0.1, 0.2))
    assert Rows((*rows, weak, strong)).strongest_white_box() == [strong, rows[-1]]


def test_rows_say_what_is_missing(evaluation: Evaluation) -> None:
    with pytest.raises(ConfigError, match="no row is of 'jpeg' on original images"):
        evaluation.rows.clean("jpeg")
    bare = evaluation.rows.only(threat=T0) + evaluation.rows.only(threat=T1, defence=BARE)
    with pytest.raises(ConfigError, match="T1 pgd@4 is without its defended one"):
        list(Rows(bare).pairs())


def test_any_tuple_of_rows_becomes_rows(evaluation: Evaluation) -> None:
    again = replace(evaluation, rows=tuple(evaluation.rows))  # type: ignore[arg-type]
    assert isinstance(again.rows, Rows)
    assert again == evaluation
