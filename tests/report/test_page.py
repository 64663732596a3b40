"""The self-contained page of a result."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.report.curves import curves
from ansm_plugin.report.page import headline, page, write_html

_VOID = {"meta", "img", "line", "circle", "polyline", "br"}
_HOSTILE = '<script>alert("x")</script> "quoted" & \n new line'


class _Checker(HTMLParser):
    """Collects tags, and fails on one that is closed out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag


def _checked(text: str) -> _Checker:
    checker = _Checker()
    checker.feed(text)
    assert checker.open == []
    return checker


def _json(evaluation: Evaluation) -> dict[str, object]:
    return dict(json.loads(json.dumps(evaluation.as_json())))


def test_the_page_is_whole_and_asks_for_nothing_outside(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """Tags close, no script, and every source is inside the file."""
    picture = tmp_path / "panel.png"
    Image.new("RGB", (4, 4)).save(picture)
    path = write_html(_json(evaluation), [("worst image", picture)], tmp_path / "new" / "r.html")
    text = path.read_text(encoding="utf-8")
    seen = _checked(text).seen
    assert "script" not in {tag for tag, _ in seen}
    sources = [v for _, attrs in seen for k, v in attrs.items() if k in ("src", "href")]
    assert len(sources) == 1
    assert str(sources[0]).startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?://", text)


def test_every_row_is_in_a_table(evaluation: Evaluation) -> None:
    """Each F1 stands in the page, with the threat it belongs to."""
    text = page(_json(evaluation))
    for row in evaluation.rows:
        assert f"{row.f1:.3f}" in text
    assert {f"<h3>{threat}:" in text for threat in ("T0", "T1", "T4")} == {True}


def test_the_headline_names_the_white_box_figure(evaluation: Evaluation) -> None:
    """Recovery never stands without harm and the attacker who knows the module."""
    text = headline(_json(evaluation))
    lowest = min(evaluation.summary["f1_white_box"].values())
    assert f"knows the module leaves F1 {lowest:.3f}" in text
    assert f"{evaluation.summary['harm']:+.3f}" in text
    without = replace(evaluation, summary={**evaluation.summary, "f1_white_box": {}})
    assert "was not run" in headline(_json(without))


def test_names_are_text_and_nothing_else(evaluation: Evaluation, tmp_path: Path) -> None:
    """Hostile names of localizer, defence, attack, alarm, command and picture change no tag."""
    picture = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(picture)
    rows = tuple(
        replace(row, attack=_HOSTILE if row.threat == "T4" else row.attack)
        for row in evaluation.rows
    )
    rows += (replace(rows[0], defence=_HOSTILE),)
    hostile = replace(
        evaluation,
        localizer=_HOSTILE,
        ansm=_HOSTILE,
        alarms=(_HOSTILE,),
        command=_HOSTILE,
        rows=rows,
    )
    plain = _checked(page(_json(replace(evaluation, alarms=("a",), rows=rows)), [("p", picture)]))
    found = _checked(page(_json(hostile), [(_HOSTILE, picture)]))
    assert [tag for tag, _ in found.seen] == [tag for tag, _ in plain.seen]


def test_alarms_are_in_words_or_their_absence_is(evaluation: Evaluation) -> None:
    """A reader sees either each alarm or that there is none."""
    assert "No alarm" in page(_json(evaluation))
    text = page(_json(replace(evaluation, alarms=("gradients mislead",))))
    assert "gradients mislead" in text
    assert "No alarm" not in text


def test_curves_start_at_the_original_and_take_the_strongest_attack(
    evaluation: Evaluation,
) -> None:
    """At eps 0 stands the F1 of originals; at others the minimum over attacks."""
    rows = [row.as_json() for row in evaluation.rows]
    found = curves(rows)
    assert set(found) == {"T1 bare", "T1 ANSM", "T4 ANSM"}
    assert found["T1 bare"][0] == (0.0, evaluation.summary["f1_clean"])
    at_8 = min(
        r["f1"] for r in rows if (r["threat"], r["defence"], r["eps_255"]) == ("T1", "none", 8)
    )
    assert dict(found["T1 bare"])[8.0] == at_8
