"""The README is one screen for people: short sentences, a picture, a table that has the limit."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Exempt are recipes/lab/PHOTO.md and the other files of recipes/lab: tables of figures, no prose.
PAGES = (
    *("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "HOSTS.md"),
    *("recipes/PROOF.md", "recipes/HARDENED.md", "recipes/CLUSTER.md", "recipes/README.md"),
    *("recipes/lab/HARDENED.md", "recipes/lab/PROOF.md"),
    *("docs/errors.md", "docs/threats.md", "docs/walks.md"),
    *(f"recipes/guides/{path.name}" for path in sorted((ROOT / "recipes/guides").glob("*.md"))),
)
MOST_WORDS = 35
MOST_BYTES = 200_000
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_STRUNG = re.compile(r"\d[\d.%]* ?/ ?-?\d")


def prose(markdown: str) -> list[str]:
    """Return the sentences outside of code, tables, headings and comments; links as their words.

    A colon ends none.
    """
    text = re.sub(r"<!--.*?-->", "", _FENCE.sub("\n\n", markdown), flags=re.DOTALL)
    text = re.sub(r"^(?:#|\|).*$", "\n", text, flags=re.MULTILINE)
    text = re.sub(r"^[-*] |^\d+\. ", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "CODE", text)  # one word, whatever stands in it
    pieces = [" ".join(part.split()) for part in text.split("\n\n")]
    return [s for p in pieces for s in re.split(r"(?<=[.?!])[*)]* +(?=\S)", p) if s]


def too_long(markdown: str) -> list[str]:
    """Return the sentences of too many words."""
    return [s for s in prose(markdown) if len(s.split()) > MOST_WORDS]


def strung(markdown: str) -> list[str]:
    """Return the sentences with figures in slashes."""
    return [s for s in prose(markdown) if _STRUNG.search(s)]


@pytest.mark.parametrize("page", PAGES)
def test_no_sentence_is_too_long_and_no_figures_are_strung(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert len(prose(text)) > 2
    assert too_long(text) == []
    assert strung(text) == []


def test_long_sentences_and_slashes_are_told() -> None:
    words = " ".join(["word"] * 36)
    assert too_long(f"Short. {words}.\n\n```\n{words}\n```\n\n| {words} |\n") == [f"{words}."]
    assert too_long(f"- {words[:-5]}\n- two words\n") == []
    assert len(too_long(f"Two: {words[:-5]}.")) == 1
    assert strung("It keeps 0.79 / 0.61 of it. At 8/255 none, [here](a/1/2). `1/2`.") == [
        "It keeps 0.79 / 0.61 of it.", "At 8/255 none, here.",
    ]  # fmt: skip


def test_the_first_screen_has_picture_table_and_limit() -> None:
    first = README.partition("\n## ")[0]
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", first)
    head, _, *lines = [line for line in first.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert "T4" in head
    assert "limit" in first.partition("![")[0]
    if not (ROOT / picture).exists():
        pytest.skip("the sdist has no pictures")
    assert (ROOT / picture).stat().st_size <= MOST_BYTES


def test_every_line_of_the_table_has_its_command() -> None:
    first = README.partition("\n## ")[0]
    lines = [line for line in first.splitlines() if re.match(r"\|.*\d\.\d\d", line)]
    assert len(lines) == 4
    assert all(re.search(r"\| `ansm [a-z]+[^`]*` \|$", line) for line in lines)


def test_figures_of_the_module_stand_in_one_place() -> None:
    """Shares, as F1 is one, are in the first part alone, so that other weights change only it."""
    _, *rest = README.split("\n## ")
    assert re.findall(r"\b0\.\d+", "\n".join(_FENCE.sub("", part) for part in rest)) == []
