"""An evaluation on the terminal: a table, the summary in plain words, the alarms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T1, Evaluation, Row
from ansm_plugin.report.shown import (
    FRAMING,
    FRAMING_HEAD,
    framing_cells,
    framing_line,
    left_out_line,
    shown,
)
from ansm_plugin.report.transplanted import transplant_lines
from ansm_plugin.report.words import (
    attack_name,
    between,
    doubtful_intervals,
    given_back,
    white_box_kind,
)
from ansm_plugin.system.text import harmless, one_line

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def print_table(evaluation: Evaluation, console: Console) -> None:
    """Print F1 per attack and radius, then the summary and the alarms."""
    from rich.text import Text

    console.print(_table(evaluation))
    if evaluation.framing:
        console.print(_framing_table(evaluation))
    lines = [Text(harmless(line)) for line in summary_lines(evaluation)]
    lines += [Text(harmless(f"ALARM: {alarm}"), style="bold red") for alarm in evaluation.alarms]
    for line in lines:
        # A log keeps one line per fact; a terminal wraps between words.
        console.print(line, soft_wrap=not console.is_terminal)


def summary_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield the summary in plain words."""
    summary, rows = evaluation.summary, evaluation.rows
    recoveries = [value for value in summary["recovery"].values() if value is not None]
    if recoveries:
        yield (
            f"Recovery: {min(recoveries):.3f} to {max(recoveries):.3f} of the lost F1 comes back "
            "(1 is all of it)."
        )
    else:
        yield f"Recovery: none to tell. {given_back(summary['recovery'])}"
    ends = between(summary.get("harm_low"), summary.get("harm_high"), "+z.3f")
    yield f"Harm: {summary['harm']:+z.3f}{ends} F1 lost on original images (0 is none)."
    yield from _white_box_lines(evaluation)
    if note := doubtful_intervals(evaluation):
        yield note
    yield from filter(None, (framing_line(evaluation.framing), left_out_line(rows)))
    yield from transplant_lines(evaluation.transplant)
    shares = [rows.clean(defence).false_positive_share for defence in (BARE, DEFENDED)]
    if None not in shares:
        yield (
            f"Authentic images: {shares[0]:.2%} of pixels falsely marked bare, {shares[1]:.2%} "
            "defended."
        )


def _white_box_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield what the strongest attack leaves at the largest radius, then at the others."""
    rows = evaluation.rows.strongest_white_box()
    if not rows:
        return
    *others, largest = rows
    kind = white_box_kind(evaluation)
    yield (
        f"White box{f' ({kind})' if kind else ''}: an attacker who knows the module too "
        f"({attack_name(largest)}, {largest.steps} steps, {largest.eps_255:g}/255) leaves the "
        f"defended localizer F1 {largest.f1:.3f}."
    )
    if others:
        left = ", ".join(f"{row.f1:.3f} at {row.eps_255:g}/255" for row in others)
        yield f"White box at smaller radii: F1 {left}."


def _table(evaluation: Evaluation) -> Table:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    title = f"{evaluation.localizer}, ANSM {evaluation.ansm}, {evaluation.images} images"
    # ASCII keeps the table readable in logs and on consoles of any encoding.
    table = Table(title=escape(one_line(title)), box=box.ASCII2)
    names = ("threat", "attack", "eps", "bare F1", "defended F1", "95 % interval", "recovery")
    for name in names:
        table.add_column(
            name, justify="left" if name in names[:2] else "right", no_wrap=name != "attack"
        )
    has_baselines = any(row.defence not in (BARE, DEFENDED) for row in evaluation.rows)
    if has_baselines:
        table.add_column("best baseline", justify="right", no_wrap=True)
    for *cells, baseline in _table_rows(evaluation):
        table.add_row(*cells, *([baseline] if has_baselines else []))
    return table


def _framing_table(evaluation: Evaluation) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=FRAMING, box=box.ASCII2)
    for name in FRAMING_HEAD:
        table.add_column(
            name, justify="left" if name in ("threat", "attack", "defence") else "right"
        )
    for cells in framing_cells(evaluation.framing):
        table.add_row(*cells)
    return table


def _table_rows(evaluation: Evaluation) -> Iterator[tuple[str, ...]]:
    """Yield the cells of one attack each: both localizers, recovery and the best baseline."""
    groups: dict[tuple[str, str, float], dict[str, Row]] = {}
    for row in shown(evaluation.rows):
        groups.setdefault((row.threat, row.attack, row.eps_255), {})[row.defence] = row
    for (threat, attack, _), found in groups.items():
        bare, defended = found.get(BARE), found.get(DEFENDED)
        known = next(iter(found.values()))
        name = {NO_ATTACK: "none (original)"}.get(attack, attack)
        others = [row for d, row in found.items() if d not in (BARE, DEFENDED)]
        best = max(others, key=lambda row: row.f1, default=None)
        baseline = f"{best.f1:.3f} {best.defence.partition(' ')[0].lower()}" if best else "-"
        yield (
            *(threat, name, _eps(known), *_f1_cells(bare, defended)),
            _recovered(evaluation, known),
            baseline,
        )


def _recovered(evaluation: Evaluation, row: Row) -> str:
    if row.threat != T1:
        return "-"
    known = evaluation.summary["recovery"]
    if row.key not in known:
        return "-"
    share = known[row.key]
    return "no damage" if share is None else f"{share:.3f}"


def _f1_cells(bare: Row | None, defended: Row | None) -> tuple[str, str, str]:
    ends = "-"
    if defended and defended.has_interval:
        ends = f"{defended.f1_low:.3f} to {defended.f1_high:.3f}"
    return (
        f"{bare.f1:.3f}" if bare else "-",
        f"{defended.f1:.3f}" if defended else "-",
        ends,
    )


def _eps(row: Row) -> str:
    return f"{row.eps_255:g}/255" if row.eps_255 else "0"
