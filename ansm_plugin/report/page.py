"""The result of an evaluation as one self-contained page: it asks for nothing outside.

Made from the numbers alone, so that a page can be made again from a kept result. The templates
escape all that comes from outside, such as names of files and commands. Its script sorts, filters
and copies tables; without it the page says the same. A policy lets nothing else run.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from ansm_plugin.evaluation.cost import Cost
from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    T0,
    T1,
    T2,
    T5,
    THREATS,
    WORST,
    Defence,
    Evaluation,
    Row,
    Rows,
    Threat,
    norm_of,
)
from ansm_plugin.evaluation.summary import Summary
from ansm_plugin.report.curves import chart
from ansm_plugin.report.policy import policy
from ansm_plugin.report.shown import (
    AIMED_MEANING,
    FRAMING,
    FRAMING_HEAD,
    FRAMING_MEANING,
    framing_cells,
    left_out_line,
    not_run_line,
    outdone_line,
    shown,
)
from ansm_plugin.report.tables import Cell, Line, Table, plain
from ansm_plugin.report.transplanted import (
    TRANSPLANT,
    TRANSPLANT_HEAD,
    TRANSPLANT_MEANING,
    transplant_cells,
)
from ansm_plugin.report.words import (
    between,
    doubtful_intervals,
    given_back,
    harm_words,
    interval,
    white_box_kind,
)
from ansm_plugin.system.files import write_whole

Picture = tuple[str, Path]  # caption and PNG file
NO_DAMAGE = "no damage"
MOST_LEFT_OUT = 50  # entries that the page names; the JSON has all
_SHOWN = {BARE: "bare", DEFENDED: "ANSM"}


def write_html(evaluation: Evaluation, pictures: Sequence[Picture], path: str | Path) -> Path:
    """Write the page; the file appears whole or not at all.

    Args:
        evaluation: also one that `Evaluation.from_json` read back from its file.
        pictures: PNG files with captions; they are copied into the page.
        path: the HTML file.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
        OSError: a picture cannot be read.
    """
    text = page(evaluation, pictures)
    return write_whole(Path(path), lambda stream: stream.write(text.encode()))


def page(evaluation: Evaluation, pictures: Sequence[Picture] = ()) -> str:
    """Return the page as text."""
    rows = evaluation.rows
    return rendered(
        "page.html.j2",
        evaluation=evaluation,
        headline=headline(evaluation),
        threats=list(_threat_tables(evaluation, Rows(r for r in rows if r.aim is None))),
        not_run=not_run_line(rows),
        aimed=list(_threat_tables(evaluation, Rows(r for r in rows if r.aim))),
        aimed_meaning=f"{AIMED_MEANING} {outdone_line(rows)}",
        chart=chart(rows),
        doubtful_intervals=doubtful_intervals(evaluation),
        framing=_framing_table(evaluation),
        transplant=_transplant_table(evaluation),
        left_out=left_out_line(rows),
        most_left_out=MOST_LEFT_OUT,
        costs=_cost_table(evaluation.cost),
        pictures=[(caption, _base64(path)) for caption, path in pictures],
    )


def rendered(template: str, **values: object) -> str:
    """Return a template of ours as text; all values are escaped."""
    environment = Environment(
        loader=PackageLoader("ansm_plugin.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    style, script = (environment.get_template(n).render() for n in ("page.css", "tables.js"))
    page_of = environment.get_template(template)
    return page_of.render(style=style, script=script, policy=policy(style, script), **values)


def headline(evaluation: Evaluation) -> str:
    """Return what was found in a few sentences, with the white-box figure in them."""
    summary = evaluation.summary
    found = summary["f1_white_box"]
    # A radius in l2 says something else; it counts where there is no other.
    white = {k: v for k, v in found.items() if norm_of(k.rpartition("@")[0]) == "linf"} or found
    text = (
        f"On original images the localizer reaches F1 {summary['f1_clean']:.3f}; "
        f"{harm_words(summary['harm'])}. {given_back(summary['recovery'])}"
    )
    if not white:
        return text + " The attacker who knows the module was not run."
    key = min(white, key=white.__getitem__)
    text += f" An attacker who knows the module leaves F1 {white[key]:.3f} ({key}/255)"
    return text + (f": {kind}." if (kind := white_box_kind(evaluation)) else ".")


def _threat_tables(evaluation: Evaluation, rows: Rows) -> Iterator[Table]:
    for threat in dict.fromkeys(row.threat for row in rows):
        same = shown(rows.only(threat=threat))
        recovery = _recovery_cells(evaluation.summary) if threat == T1 else {}
        defences = tuple(dict.fromkeys(row.defence for row in same))
        yield Table(
            f"{threat}: the attacker {_verb(threat)}",
            ("attack", "eps", *map(_name, defences), *(("recovery",) if recovery else ())),
            tuple(_lines(same, defences, recovery)),
        )


def _framing_table(evaluation: Evaluation) -> Table:
    return plain(FRAMING, FRAMING_HEAD, framing_cells(evaluation.framing), FRAMING_MEANING)


def _transplant_table(evaluation: Evaluation) -> Table:
    found = evaluation.transplant
    lines = transplant_cells(found) if found else ()
    return plain(TRANSPLANT, TRANSPLANT_HEAD, lines, TRANSPLANT_MEANING)


def _verb(threat: Threat) -> str:
    if threat == T0:
        return "is absent"
    return f"knows {THREATS[threat]}" if threat in (T2, T5) else THREATS[threat]


def _lines(rows: Rows, defences: Sequence[Defence], recovery: Mapping[str, Cell]) -> Iterator[Line]:
    for attack, eps in dict.fromkeys((row.attack, row.eps_255) for row in rows):
        found = {row.defence: row for row in rows.only(attack=attack, eps_255=eps)}
        best = max(row.f1 for row in found.values())
        cells = [Cell(attack), Cell(f"{eps:g}")]
        cells += [_cell(found.get(defence), best) for defence in defences]
        if recovery:
            cells.append(recovery.get(f"{attack}@{eps:g}", Cell("-")))
        yield Line(tuple(cells), is_worst=attack == WORST)


def _recovery_cells(summary: Summary) -> dict[str, Cell]:
    """Return the cell of each attack and radius."""
    low, high = summary.get("recovery_low", {}), summary.get("recovery_high", {})

    def cell(key: str, share: float | None) -> Cell:
        if share is None:
            return Cell(NO_DAMAGE)
        ends = between(low.get(key), high.get(key), ".3f")
        return Cell(f"{share:.3f}", f"95 % interval{ends}" if ends else "interval not defined")

    return {key: cell(key, share) for key, share in summary["recovery"].items()}


def _cell(row: Row | None, best: float) -> Cell:
    if row is None:
        return Cell("-")
    return Cell(f"{row.f1:.3f}", interval(row), is_best=row.f1 == best)


def _cost_table(costs: Mapping[Defence, Cost]) -> Table:
    head = ("defence", "parameters", "GMAC", "x localizer's GMAC", "x localizer's time")
    lines = (
        (
            _name(defence),
            f"{cost.parameters:,}",
            f"{cost.gmac:.2f}",
            "-" if cost.gmac_ratio is None else f"{cost.gmac_ratio:.2f}",
            f"{cost.time_ratio:.2f}",
        )
        for defence, cost in costs.items()
    )
    return plain("What a defence costs", head, lines, "")


def _name(defence: Defence) -> str:
    return _SHOWN.get(defence, defence)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
