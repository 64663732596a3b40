"""The same table on the page, as Markdown and as LaTeX; decoys in a section of their own."""

from __future__ import annotations

from dataclasses import replace

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.results import T1, Rows
from ansm_plugin.report.page import page
from ansm_plugin.report.shown import AIMED_MEANING, outdone_line
from ansm_plugin.report.tables import Cell, Line, Table, plain
from ansm_plugin.report.transplanted import TRANSPLANT_MEANING

TABLE = Table(
    "title",
    ("attack", "F1_x"),
    (Line((Cell("a|b & 5%"), Cell("0.500", is_best=True))), Line((Cell("c_d"), Cell("-")))),
)


def test_markdown_keeps_cells_apart() -> None:
    assert TABLE.markdown.splitlines() == [
        "| attack | F1\\_x |",
        "| --- | ---: |",
        "| a\\|b & 5% | **0.500** |",
        "| c\\_d | - |",
    ]


def test_latex_means_what_it_says() -> None:
    """What LaTeX reads as a command is escaped."""
    assert TABLE.latex.splitlines()[1:] == [
        "\\begin{tabular}{lr}",
        "\\toprule",
        "attack & F1\\_x \\\\",
        "\\midrule",
        "a|b \\& 5\\% & \\textbf{0.500} \\\\",
        "c\\_d & - \\\\",
        "\\bottomrule",
        "\\end{tabular}",
    ]
    hostile = plain("", ("what",), [("\\input{x}\n\\end{tabular}",)], "")
    assert "\\input" not in hostile.latex
    assert hostile.latex.count("\\end{tabular}") == 1


def _aimed(evaluation: Evaluation) -> Evaluation:
    """Return it with a decoy attack of T1, and a weaker one of the same aim."""
    rows = evaluation.rows.only(threat=T1, attack="pgd", eps_255=8)
    decoys = [
        replace(row, attack=f"{name}, decoy", aim="decoy", f1=f1)
        for name, f1 in (("pgd", 0.25), ("mifgsm", 0.75))
        for row in rows
    ]
    recovery = {**evaluation.summary["recovery"], "pgd, decoy@8": 0.5, "mifgsm, decoy@8": 0.5}
    return replace(
        evaluation,
        rows=Rows((*evaluation.rows, *decoys)),
        summary={**evaluation.summary, "recovery": recovery},
    )


def test_decoys_stand_in_a_section_of_their_own(evaluation: Evaluation) -> None:
    """With what they mean, and with how many are not shown; without any there is no section."""
    text = page(_aimed(evaluation))
    before, _, section = text.partition("<h2>Attacks that were told a wrong mask</h2>")
    assert "decoy" not in before
    assert AIMED_MEANING in section
    assert section.count("<td>pgd, decoy</td>") == 1
    assert "mifgsm, decoy" not in section
    assert "the JSON has 1 more." in section
    assert "wrong mask</h2>" not in page(evaluation)
    assert outdone_line(evaluation.rows) == ""


def test_transplant_says_what_it_means(evaluation: Evaluation) -> None:
    assert evaluation.transplant is not None
    assert TRANSPLANT_MEANING in page(evaluation)
    assert TRANSPLANT_MEANING not in page(replace(evaluation, transplant=None))
