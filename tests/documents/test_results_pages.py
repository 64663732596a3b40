"""PROOF and HARDENED are half a page each: a picture, six rows, three limits, true figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, T4, WORST
from lab.truth import joined, left

RECIPES = Path(__file__).parents[2] / "recipes"
RESULTS = RECIPES / "lab" / "results"
PAIRS = {
    "forensic-unet": "independent.json,bound-forensic-unet.json",
    "bsds-cnn": "truth-bsds-cnn.json,truth-bsds-cnn-t4.json",
    "bsds-transformer": "truth-bsds-transformer.json,truth-bsds-transformer-t4.json",
    "casia1-cnn": "truth-casia1-cnn.json,truth-casia1-cnn-t4.json",
}
MOST_LINES = 45


def rows(page: str) -> list[list[str]]:
    """Return the cells of the one table of a page, head left out."""
    text = (RECIPES / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def measured(pair: str) -> list[str]:
    """Return a column of PROOF from the files of its pair."""
    found = joined(",".join(str(RESULTS / name) for name in PAIRS[pair].split(",")))
    keys = [(T0, NO_ATTACK, 0.0, BARE), (T0, NO_ATTACK, 0.0, DEFENDED)]
    keys += [(T1, WORST, 4.0, BARE), (T1, WORST, 4.0, DEFENDED), (T1, WORST, 8.0, DEFENDED)]
    figures = (*(found.f1(*key) for key in keys), left(T4, 4.0)(found))
    return ["-" if figure is None else f"{figure:.3f}" for figure in figures]


@pytest.mark.parametrize("page", ["PROOF.md", "HARDENED.md"])
def test_a_page_is_half_a_page(page: str) -> None:
    text = (RECIPES / page).read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert len(re.findall(r"!\[[^\]]+\]\(", text)) == 1
    assert len(rows(page)) == 6
    assert len(re.findall(r"^\d\. \*\*", text, re.MULTILINE)) == 3
    assert f"(lab/{page})" in text


@pytest.mark.parametrize("pair", PAIRS)
def test_the_figures_of_proof_are_those_of_the_published_results(pair: str) -> None:
    if not RESULTS.exists():
        pytest.skip("the sdist has no results")
    column = 1 + list(PAIRS).index(pair)
    assert [row[column] for row in rows("PROOF.md")] == measured(pair)


def test_the_figures_of_hardened_are_those_of_its_details() -> None:
    """Shares of 1, 2 and 4 grey levels stand together there."""
    details = (RECIPES / "lab" / "HARDENED.md").read_text(encoding="utf-8").replace("*", "")
    for _, harm, one, two, four, t1 in rows("HARDENED.md"):
        assert re.search(
            rf"^\|.*\| {re.escape(harm)} \|.*\| {one} / {two} / {four} \| {t1} \|$", details, re.M
        )
