"""An evaluation on the terminal."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

from rich.console import Console

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.report.table import print_table


def _printed(evaluation: Evaluation) -> str:
    stream = StringIO()
    print_table(evaluation, Console(file=stream, width=80))
    return stream.getvalue()


def _line(text: str, *words: str) -> str:
    (line,) = (line for line in text.splitlines() if all(word in line for word in words))
    return line


def test_table_shows_bare_and_defended_f1_with_recovery(evaluation: Evaluation) -> None:
    """Each attack is one line of 80 columns with both F1 and the recovery."""
    text = _printed(evaluation)
    bare, defended = next(pair for pair in evaluation.pairs() if pair[0].key == "pgd@8")
    share = evaluation.summary["recovery"]["pgd@8"]
    line = _line(text, "| T1 ", "| pgd ", "8/255")
    assert [cell.strip() for cell in line.split("|")][4:6] == [
        f"{bare.f1:.3f}",
        f"{defended.f1:.3f}",
    ]
    assert f"{share:.3f} |" in line
    assert all(len(row) <= 80 for row in text.splitlines() if row.startswith(("|", "+")))


def test_summary_says_the_white_box_figure_in_plain_words(evaluation: Evaluation) -> None:
    """One whole line says who the attacker is and what is left of F1."""
    left = evaluation.summary["f1_white_box"]["pgd@8"]
    line = _line(_printed(evaluation), "knows the module")
    assert line.endswith(f"(PGD, 4 steps, 8/255) leaves the defended localizer F1 {left:.3f}.")
    assert "Harm: " in _printed(evaluation)


def test_false_positives_are_shown_where_measured(evaluation: Evaluation) -> None:
    """Authentic images have a line of their own; without them there is none."""
    assert "Authentic" not in _printed(evaluation)
    rows = [replace(row, false_positive_share=0.125) for row in evaluation.rows]
    text = _printed(replace(evaluation, rows=tuple(rows)))
    assert "12.50% of pixels falsely marked bare, 12.50% defended" in text


def test_names_and_alarms_are_printed_as_they_are(evaluation: Evaluation) -> None:
    """Square brackets in names and alarms are text, not markup."""
    text = _printed(replace(evaluation, localizer="a[bold]b", alarms=("c[red]d",)))
    assert "a[bold]b" in text
    assert "ALARM: c[red]d" in text


def test_an_idle_attack_has_no_recovery(evaluation: Evaluation) -> None:
    """Where the attack took nothing the table says so instead of a ratio."""
    recovery = {**evaluation.summary["recovery"], "pgd@8": None}
    changed = replace(evaluation, summary={**evaluation.summary, "recovery": recovery})
    assert "no damage" in _line(_printed(changed), "| T1 ", "| pgd ", "8/255")
