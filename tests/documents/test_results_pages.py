"""PROOF and HARDENED are half a page each: a picture, six rows, three limits, true figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

RECIPES = Path(__file__).parents[2] / "recipes"
RESULTS = RECIPES / "lab" / "results"
PAIRS = ("bsds-cnn", "bsds-transformer", "casia1-cnn", "casia1-transformer")
MOST_LINES = 45


def rows(page: str) -> list[list[str]]:
    """Return the cells of the one table of a page, head left out."""
    text = (RECIPES / page).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:]]


def measured(pair: str) -> list[str]:
    """Return a column of PROOF from the file of its pair."""
    found: dict[str, Any] = json.loads((RESULTS / f"{pair}.json").read_text(encoding="utf-8"))
    f1 = {
        (row["threat"], row["attack"], row["eps_255"], row["defence"]): row["f1"]
        for row in found["rows"]
        if "channel" not in row or not row["channel"]
    }
    keys = [("T0", "none", 0, "none"), ("T0", "none", 0, "ansm")]
    keys += [("T1", "worst", 4, "none"), ("T1", "worst", 4, "ansm"), ("T1", "worst", 8, "ansm")]
    keys += [("T4", "margin", 4, "ansm")]
    return [f"{f1[key]:.3f}" for key in keys]


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
    column = 1 + PAIRS.index(pair)
    assert [row[column] for row in rows("PROOF.md")] == measured(pair)


def test_the_figures_of_hardened_are_those_of_its_details() -> None:
    """Shares of 1, 2 and 4 grey levels stand together there."""
    details = (RECIPES / "lab" / "HARDENED.md").read_text(encoding="utf-8").replace("*", "")
    for _, harm, one, two, four, t1 in rows("HARDENED.md"):
        assert re.search(
            rf"^\|.*\| {re.escape(harm)} \|.*\| {one} / {two} / {four} \| {t1} \|$", details, re.M
        )
