"""A comparison on the terminal: the runs, warnings, settings that differ, and the figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from ansm_plugin.report.compared import Comparison
from ansm_plugin.report.comparison_words import (
    MEANING,
    TITLES,
    about,
    alarm_lines,
    cells,
    finding_cells,
    finding_head,
    head,
    legend,
    letters,
    missing_lines,
    partial_line,
    shared_line,
)
from ansm_plugin.system.text import harmless, one_line

if TYPE_CHECKING:
    from rich.console import Console

_TEXT_COLUMNS = 4  # threat, attack, eps and defence; figures stand behind them


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print the runs, what warns, what differs in how they were made, and what they found."""
    _say(console, legend(comparison))
    _say(console, (f"WARNING: {warning}" for warning in comparison.warnings), "bold red")
    names = letters(comparison)
    if comparison.settings:
        lines = [(one_line(s.name), *map(one_line, s.values)) for s in comparison.settings]
        _draw(console, "What differs in how they were made", ("setting", *names), lines, 1)
    shared = map(cells, comparison.shared)
    _draw(console, "F1, same attack and defence", head(comparison), shared, _TEXT_COLUMNS)
    if comparison.partial:
        missing = map(cells, comparison.partial)
        title = "F1 that not every run has"
        _draw(console, title, head(comparison), missing, _TEXT_COLUMNS)
    notes = (MEANING, shared_line(comparison), partial_line(comparison.partial, names))
    _say(console, filter(None, notes))
    _print_findings(comparison, console)


def _print_findings(comparison: Comparison, console: Console) -> None:
    for what, (title, meaning) in TITLES.items():
        if found := about(comparison, what):
            _draw(console, title, finding_head(comparison), map(finding_cells, found), 1)
            _say(console, [meaning])
    _say(console, missing_lines(comparison))
    for line, is_alarm in alarm_lines(comparison):
        _say(console, [line], "bold red" if is_alarm else "")


def _say(console: Console, lines: Iterable[str], style: str = "") -> None:
    from rich.text import Text

    for line in lines:
        # A log keeps one line per fact; a terminal wraps between words.
        console.print(Text(harmless(line), style=style), soft_wrap=not console.is_terminal)


def _draw(
    console: Console,
    title: str,
    names: Sequence[str],
    lines: Iterable[Sequence[str]],
    texts: int,
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, box=box.ASCII2)
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number < texts else "right", overflow="fold")
    for line in lines:
        table.add_row(*(Text(harmless(cell)) for cell in line))
    console.print(table)
