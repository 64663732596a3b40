"""What a comparison says beside F1: harm, framing, transplant and alarms of every run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.evaluation.framing import FramingRow
from ansm_plugin.evaluation.transplant import Transplant
from ansm_plugin.report.compared import Comparison, Run, compare
from ansm_plugin.report.comparison_findings import About
from ansm_plugin.report.comparison_page import comparison_page
from ansm_plugin.report.comparison_table import print_comparison
from ansm_plugin.report.comparison_words import about, finding_cells, finding_head, missing_lines
from ansm_plugin.report.per_photograph import PerPhotograph

TRANSPLANT = Transplant(
    images=4, f1=0.75, control_f1=0.25, negated_f1=0.0, error=0.0, authentic_f1=0.125,
    authentic_clean_f1=0.0625, rms_255=3.0, detail_cosine=0.5, attack="pgd@8",
    attacked_rms_255=4.0, attacked_distance_255=8.0, suppressed_distance_255=6.0,
    noise_cosine=0.25,
)  # fmt: skip


def framing(inside: float) -> tuple[FramingRow, ...]:
    """Return a defended localizer that marks a share inside the wrong mask, and none unattacked."""
    clean = FramingRow(
        threat="T0", attack="none", eps_255=0, steps=0, defence="ansm", images=4, marked=0.0,
        inside=0.0, outside=0.0, f1=0.0, chance_f1=0.0,
    )  # fmt: skip
    attacked = replace(
        clean, threat="T1", attack="mifgsm, decoy", eps_255=8, inside=inside, aim="decoy"
    )
    return clean, attacked


def compared(*evaluations: Evaluation) -> Comparison:
    values = PerPhotograph(None)
    return compare([Run(name=e.ansm, evaluation=e, values=values) for e in evaluations])


def lines(comparison: Comparison, what: About) -> dict[str, Sequence[str]]:
    """Return the cells of each figure by its name."""
    return {cells[0]: cells[1:] for cells in map(finding_cells, about(comparison, what))}


def printed(comparison: Comparison) -> str:
    stream = io.StringIO()
    print_comparison(comparison, Console(file=stream, width=160))
    return stream.getvalue()


@pytest.fixture(name="whole")
def whole_fixture(evaluation: Evaluation) -> Evaluation:
    """Return an evaluation that measured all."""
    return replace(
        evaluation,
        framing=framing(0.75),
        transplant=TRANSPLANT,
        alarms=("it writes masks",),
        alarm_names=("overwriting",),
    )


def test_harm_and_recovery_stand_together(evaluation: Evaluation) -> None:
    other = {**evaluation.summary, "harm": 0.25, "recovery": {"pgd@8": None, "new@8": 0.5}}
    calm = {**evaluation.summary, "harm": 0.1255, "recovery": {"pgd@8": 1.0}}
    runs = (replace(evaluation, summary=calm), replace(evaluation, summary=other))
    comparison = compared(*runs, runs[0])
    assert finding_head(comparison) == ("what", "A", "B", "B - A", "C", "C - A")
    assert lines(comparison, "harm") == {
        "harm, F1 lost on original images": ("0.126", "0.250", "+0.124", "0.126", "+0.000"),
        "recovery, pgd@8": ("1.000", "no damage", "-", "1.000", "+0.000"),
        "recovery, new@8": ("not measured", "0.500", "-", "not measured", "-"),
    }


def test_framing_of_both_runs_is_above_what_is_marked_unattacked(whole: Evaluation) -> None:
    comparison = compared(whole, replace(whole, framing=framing(0.5)))
    assert lines(comparison, "framing") == {
        "T1 mifgsm, decoy@8, ANSM": ("0.750", "0.500", "-0.250")
    }


def test_the_whole_transplant_test_is_compared(whole: Evaluation) -> None:
    """F1 on grey, the verdict, and every length and distance."""
    filtered = replace(TRANSPLANT, f1=0.25, suppressed_distance_255=10.0)
    found = lines(compared(whole, replace(whole, transplant=filtered)), "transplant")
    assert len(found) == 13
    assert found["bare F1 against the forgery's mask, perturbation on grey"][2] == "-0.500"
    assert found["verdict"] == ("it writes a mask of its own", "no more than chance", "-")
    assert found["rms of the perturbation, pgd@8"] == ("4.00", "4.00", "+0.00")
    assert found["behind over before, pgd@8"] == ("0.75", "1.25", "+0.50")


def test_alarms_are_compared_by_kind_and_said_in_full(whole: Evaluation) -> None:
    """Files of 0.1 have alarms without names."""
    old = replace(whole, alarm_names=None)
    calm = replace(whole, alarms=(), alarm_names=())
    comparison = compared(whole, old, calm)
    assert lines(comparison, "alarms") == {"overwriting": ("yes", "not named", "-", "no", "-")}
    said = printed(comparison)
    assert "ALARM of A: it writes masks\nALARM of B: it writes masks\nC has no alarm.\n" in said


def test_what_a_run_did_not_measure_is_said_in_words(whole: Evaluation) -> None:
    bare = replace(whole, framing=(), transplant=None)
    some = replace(whole, framing=())
    assert [*missing_lines(compared(whole, bare, some))] == [
        "Framing was not measured in B and C.",
        "The transplant test was not measured in B.",
    ]
    assert [*missing_lines(compared(bare, bare))] == [
        "Framing was measured in no run.",
        "The transplant test was measured in no run.",
    ]
    assert [*missing_lines(compared(whole, whole))] == []
    (cells,) = lines(compared(bare, whole), "framing").values()
    assert cells == ("not measured", "0.750", "-")


def test_text_page_and_json_say_the_same(whole: Evaluation) -> None:
    comparison = compared(whole, replace(whole, framing=(), transplant=None, alarms=()))
    said, page, fields = printed(comparison), comparison_page(comparison), comparison.as_json()
    for what in ("Harm and recovery", "Framing", "Transplant", "Alarms"):
        assert what in said
        assert f"<h3>{what}</h3>" in page
    for sentence in missing_lines(comparison):
        assert sentence in said
        assert f"<p>{sentence}</p>" in page
    assert '<section class="alarm"><h2>Alarms of the runs</h2>' in page
    assert "<li>ALARM of A: it writes masks</li>" in page
    assert "<li>B has no alarm.</li>" in page
    found = {finding["name"]: finding["values"] for finding in fields["findings"]}
    assert found["T1 mifgsm, decoy@8, ANSM"] == [0.75, None]
    assert found["rms of the perturbation, grey levels, originals"] == [3.0, None]
    assert found["overwriting"] == ["yes", "no"]
    assert found["harm, F1 lost on original images"] == [whole.summary["harm"]] * 2
    assert [run["alarms"] for run in fields["runs"]] == [["it writes masks"], []]
