"""A comparison as one self-contained page, in the manner of that of one evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ansm_plugin.report.compared import Comparison, Pairing
from ansm_plugin.report.comparison_words import (
    FIRST_DIFFERENCE,
    MEANING,
    TITLES,
    about,
    alarm_lines,
    cells,
    finding_cells,
    finding_head,
    head,
    hint,
    legend,
    letters,
    missing_lines,
    partial_line,
    shared_line,
)
from ansm_plugin.report.page import rendered
from ansm_plugin.report.tables import Cell, Line, Table, plain
from ansm_plugin.system.files import write_whole


def write_comparison(comparison: Comparison, path: Path) -> Path:
    """Write the page; the file appears whole or not at all.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    text = comparison_page(comparison)
    return write_whole(path, lambda stream: stream.write(text.encode()))


def comparison_page(comparison: Comparison) -> str:
    """Return the page as text."""
    names = letters(comparison)
    settings = ((setting.name, *setting.values) for setting in comparison.settings)
    return rendered(
        "compare.html.j2",
        title=f"Comparison of {len(names)} evaluations",
        legend=list(legend(comparison)),
        warnings=comparison.warnings,
        settings=plain("What differs in how they were made", ("setting", *names), settings, ""),
        shared=_table("F1 of the same attack and defence", comparison, comparison.shared),
        partial=_table("F1 that not every run has", comparison, comparison.partial),
        notes=[MEANING, shared_line(comparison), partial_line(comparison.partial, names)],
        findings=list(_finding_tables(comparison)),
        missing=list(missing_lines(comparison)),
        alarms=list(alarm_lines(comparison)),
    )


def _finding_tables(comparison: Comparison) -> Iterator[Table]:
    for what, (title, meaning) in TITLES.items():
        lines = map(finding_cells, about(comparison, what))
        yield plain(title, finding_head(comparison), lines, meaning)


def _table(title: str, comparison: Comparison, pairings: Iterable[Pairing]) -> Table:
    return Table(title, head(comparison), tuple(map(_line, pairings)))


def _line(pairing: Pairing) -> Line:
    """Return the cells of `head`; at a difference is what it is over, and clear ones are bold."""
    found = [Cell(text) for text in cells(pairing)]
    for index, difference in enumerate(pairing.differences):
        place = FIRST_DIFFERENCE + 2 * index
        is_clear = difference is not None and difference.is_clear
        found[place] = Cell(found[place].text, hint(difference), is_best=is_clear)
    return Line(tuple(found))
