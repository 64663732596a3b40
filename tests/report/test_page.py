"""The self-contained page of a result."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.cost import Cost
from ansm_plugin.evaluation.results import BARE, DEFENDED, T1, WORST, Row, Rows
from ansm_plugin.report.curves import chart, curves
from ansm_plugin.report.page import headline, page, write_html

_VOID = {"meta", "img", "line", "circle", "polyline", "br"}
_HOSTILE = '<script>alert("x")</script> "quoted" & \n new line'
TITLES = {
    "T0": "T0: the attacker is absent",
    "T1": "T1: the attacker knows the localizer, not the module",
    "T4": "T4: the attacker knows localizer and module",
}


@dataclass
class _Table:
    """A table under its heading: one list of texts per line, and what else is at a cell."""

    title: str
    lines: list[list[str]] = field(default_factory=list)
    hints: dict[str, list[str]] = field(default_factory=dict)  # by the text of the cell
    strong: list[list[str]] = field(default_factory=list)  # texts of each line
    worst: list[str] = field(default_factory=list)  # first cells


class _Page(HTMLParser):
    """Reads a page; fails on a tag that is closed out of order, and at `ended` on an open one."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}  # by the innermost tag
        self.tables: list[_Table] = []
        self._is_worst = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag in _VOID:
            return
        self.open.append(tag)
        self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self.tables.append(_Table(self._heading()))
        elif tag == "tr":
            self.tables[-1].lines.append([])
            self.tables[-1].strong.append([])
            self._is_worst = dict(attrs).get("class") == "worst"
        elif tag in ("td", "th"):
            self.tables[-1].lines[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if not self.open:
            return
        self.texts[self.open[-1]][-1] += data
        if "td" in self.open or "th" in self.open:
            table = self.tables[-1]
            table.lines[-1][-1] += data
            if "strong" in self.open:
                table.strong[-1].append(data)
            if "span" in self.open:
                hint = next(a["title"] for t, a in reversed(self.seen) if t == "span")
                table.hints.setdefault(data, []).append(str(hint))

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag
        if tag == "tr" and self._is_worst:
            self.tables[-1].worst.append(self.tables[-1].lines[-1][0])

    def _heading(self) -> str:
        last = next(tag for tag, _ in reversed(self.seen) if tag in ("h1", "h2", "h3"))
        return self.texts[last][-1]

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.seen if name == tag]


def _threats(text: str) -> dict[str, _Table]:
    return {table.title: table for table in _Page(text).tables if ": the attacker" in table.title}


def _picture(folder: Path) -> Path:
    Image.new("RGB", (4, 4)).save(folder / "p.png")
    return folder / "p.png"


def test_the_page_is_whole_and_asks_for_nothing_outside(
    evaluation: Evaluation, tmp_path: Path
) -> None:
    """Tags close, and every source is inside the file, that of its script too."""
    pictures = [("worst image", _picture(tmp_path))]
    path = write_html(evaluation, pictures, tmp_path / "new" / "r.html")
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>\n<html")
    found = _Page(text)
    seen = found.seen
    assert not {"link", "iframe"} & {tag for tag, _ in seen}
    assert found.attributes("script") == [{}]
    sources = [v for _, attrs in seen for k, v in attrs.items() if k in ("src", "href")]
    assert len(sources) == 1
    assert str(sources[0]).startswith("data:image/png;base64,")
    assert not re.search(r"url\(|@import|https?://", text)


def _expected(rows: Rows, recovery: dict[str, float | None]) -> list[list[str]]:
    """Return the table of a threat: a line per attack and radius, a column per defence."""
    defences = list(dict.fromkeys(row.defence for row in rows))
    shown = {BARE: "bare", DEFENDED: "ANSM"}
    head = ["attack", "eps", *(shown.get(d, d) for d in defences)]
    lines = [[*head, "recovery"] if recovery else head]
    for key in dict.fromkeys(row.key for row in rows):
        same = {row.defence: row for row in rows if row.key == key}
        attack, _, eps = key.rpartition("@")
        f1 = [f"{same[d].f1:.3f}" if d in same else "-" for d in defences]
        share = [recovery[key]] if recovery else []
        back = ["no damage" if value is None else f"{value:.3f}" for value in share]
        lines.append([attack, eps, *f1, *back])
    return lines


def test_every_row_stands_in_the_table_of_its_threat(evaluation: Evaluation) -> None:
    """At its attack, radius and defence, and nothing else does; recovery beside T1 alone."""
    baseline = replace(evaluation.rows.only(threat=T1)[0], defence="median", f1=0.4321)
    recovery = {**evaluation.summary["recovery"], "pgd@4": None}
    found = replace(
        evaluation,
        rows=Rows((*evaluation.rows, baseline)),
        summary={**evaluation.summary, "recovery": recovery},
    )
    tables = _threats(page(found))
    assert list(tables) == list(TITLES.values())
    for threat, title in TITLES.items():
        rows = Rows(row for row in found.rows if row.threat == threat)
        expected = _expected(rows, recovery if threat == T1 else {})
        assert tables[title].lines == expected
    cells = [cell for line in tables[TITLES["T1"]].lines for cell in line]
    assert {"median", "0.432", "-", "no damage"} <= set(cells)


def test_a_figure_has_its_interval(evaluation: Evaluation) -> None:
    """Whoever points at an F1 reads how far it can be trusted, and of how many images it is."""

    def hints(row: Row, count: int) -> list[str]:
        changed = replace(row, f1=0.4321, f1_low=0.1234, f1_high=0.5678, images=count)
        found = replace(evaluation, rows=(*evaluation.rows, replace(changed, attack="odd")))
        return _threats(page(found))[TITLES[row.threat]].hints["0.432"]

    for row in (evaluation.rows[0], evaluation.rows.only(threat=T1)[1]):
        assert hints(row, 17) == ["95 % interval 0.123 to 0.568, 17 images"]


def test_the_best_defence_and_the_worst_attack_are_set_off(evaluation: Evaluation) -> None:
    """In each line the highest F1; in each table the lines of the strongest attack."""
    tables = _threats(page(evaluation))
    for threat, title in TITLES.items():
        rows = [row for row in evaluation.rows if row.threat == threat]
        best: dict[str, float] = {}
        for row in rows:
            best[row.key] = max(row.f1, best.get(row.key, 0.0))
        strong = [
            [f"{row.f1:.3f}" for row in rows if row.key == key and row.f1 == best[key]]
            for key in best
        ]
        assert tables[title].strong == [[], *strong]  # the head has none
        radii = [key for key in best if key.startswith(f"{WORST}@")]
        assert tables[title].worst == [WORST] * len(radii)
    assert tables[TITLES["T1"]].worst == [WORST, WORST]


def test_cost_is_a_table_where_it_was_measured(evaluation: Evaluation) -> None:
    """A line per defence; a ratio that is not defined is a dash."""
    titles = [table.title for table in _Page(page(replace(evaluation, transplant=None))).tables]
    assert titles == list(TITLES.values())
    small = Cost(parameters=1234567, gmac=0.125, gmac_ratio=0.5, time_ratio=1.2345, size=(8, 8))
    cost = {DEFENDED: small, "median": replace(small, parameters=0, gmac_ratio=None)}
    table = _Page(page(replace(evaluation, cost=cost))).tables[-1]
    assert table.title == "What a defence costs"
    assert table.lines == [
        ["defence", "parameters", "GMAC", "x localizer's GMAC", "x localizer's time"],
        ["ANSM", "1,234,567", "0.12", "0.50", "1.23"],
        ["median", "0", "0.12", "-", "1.23"],
    ]


def test_the_headline_names_the_white_box_figure(evaluation: Evaluation) -> None:
    """Recovery never stands without harm and the attacker who knows the module."""
    text = headline(evaluation)
    assert text in _Page(page(evaluation)).texts["p"]
    lowest = min(evaluation.summary["f1_white_box"].values())
    assert f"knows the module leaves F1 {lowest:.3f}" in text
    assert f"{evaluation.summary['harm']:+.3f}" in text
    without = replace(evaluation, summary={**evaluation.summary, "f1_white_box": {}})
    assert "was not run" in headline(without)


def test_names_are_text_and_nothing_else(evaluation: Evaluation, tmp_path: Path) -> None:
    """Hostile names change no tag, and are shown as they are."""
    picture = _picture(tmp_path)

    def read(text: str) -> _Page:
        rows = [replace(r, attack=text if r.threat == "T4" else r.attack) for r in evaluation.rows]
        rows += [replace(row, defence=text) for row in evaluation.rows.only(threat=T1)]
        changed = replace(
            evaluation,
            localizer=text, ansm=text, alarms=(text,), command=text, versions={text: text},
            rows=tuple(rows),
        )  # fmt: skip
        return _Page(page(changed, [(text, picture)]))

    plain, hostile = read("name"), read(_HOSTILE)
    assert [tag for tag, _ in hostile.seen] == [tag for tag, _ in plain.seen]
    for tag in ("title", "h1", "p", "td", "th", "code", "figcaption", "li"):
        shown = [text.replace("name", _HOSTILE) for text in plain.texts[tag]]
        assert hostile.texts[tag] == shown
        assert _HOSTILE in "".join(shown)
    assert [image["alt"] for image in hostile.attributes("img")] == [_HOSTILE]


def test_alarms_are_in_words_or_their_absence_is(evaluation: Evaluation) -> None:
    """A reader sees either each alarm or that there is none."""
    calm = _Page(page(replace(evaluation, alarms=())))
    assert [p["class"] for p in calm.attributes("p") if "class" in p] == ["lead", "calm"]
    assert "Alarms" not in calm.texts["h2"]
    alarmed = _Page(page(replace(evaluation, alarms=("gradients mislead", "it leaks"))))
    assert alarmed.texts["li"][:2] == ["gradients mislead", "it leaks"]
    assert [section["class"] for section in alarmed.attributes("section")] == ["alarm"]
    assert "calm" not in [p.get("class") for p in alarmed.attributes("p")]


def test_a_page_is_made_again_from_its_numbers(evaluation: Evaluation) -> None:
    """The file of a result holds all that its page shows."""
    kept = Evaluation.from_json(json.loads(json.dumps(evaluation.as_json())))
    assert page(kept) == page(evaluation)


def test_curves_start_at_the_original_and_take_the_strongest_attack(
    evaluation: Evaluation,
) -> None:
    """At eps 0 stands the F1 of originals; at others the minimum over attacks."""
    found = curves(evaluation.rows)
    assert set(found) == {"T1 bare", "T1 ANSM", "T4 ANSM"}
    assert found["T1 bare"][0] == (0.0, evaluation.summary["f1_clean"])
    at_8 = min(row.f1 for row in evaluation.rows.only(threat=T1, defence=BARE, eps_255=8))
    assert dict(found["T1 bare"])[8.0] == at_8


def test_the_page_draws_every_point_of_the_curves(evaluation: Evaluation) -> None:
    """Each with its figures, where a line joins them; lower F1 is lower, larger eps further."""
    drawn = chart(evaluation.rows)
    assert drawn is not None
    found = _Page(page(evaluation))
    said = [text for text in found.texts["title"] if "/255: F1" in text]
    assert said == [
        f"{name}, eps {eps:g}/255: F1 {f1:.3f}"
        for name, points in curves(evaluation.rows).items()
        for eps, f1 in points
    ]
    dots = [(dot["cx"], dot["cy"]) for dot in found.attributes("circle")]
    joined = [str(line["points"]).split() for line in found.attributes("polyline")]
    assert [tuple(place.split(",")) for line in joined for place in line] == dots
    for curve in drawn.curves:
        assert [p.x for p in curve.points] == sorted({p.x for p in curve.points})
        heights = [p.y for p in sorted(curve.points, key=lambda p: p.f1)]
        assert heights == sorted(heights, reverse=True)  # counted from above
    assert found.texts["li"][-len(drawn.curves) :] == [curve.name for curve in drawn.curves]
    dashed = ["stroke-dasharray" in line for line in found.attributes("polyline")]
    assert dashed == ["T4" in curve.name for curve in drawn.curves]


@pytest.mark.parametrize("threat", ["T1", "T4"])
def test_a_page_without_curves_says_so(evaluation: Evaluation, threat: str) -> None:
    """Where neither T1 nor T4 was run there is no empty chart."""
    originals = tuple(row for row in evaluation.rows if row.threat == "T0")
    some = tuple(row for row in evaluation.rows if row.threat == threat)
    empty = _Page(page(replace(evaluation, rows=originals)))
    assert "No attack of T1 or T4 was run." in empty.texts["p"]
    assert empty.attributes("svg") == []
    drawn = _Page(page(replace(evaluation, rows=originals + some))).attributes("svg")
    assert [one.get("role") for one in drawn].count("img") == 1
