"""Every relative link of every committed document leads to a file, and its anchor to a heading."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Not ours, made, or (docs) turned into links of the site, which its own strict build checks.
ELSEWHERE = {"docs", "build", "runs", "node_modules"}
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def documents() -> Iterator[Path]:
    """Yield the documents of the checkout; folders that begin with a dot are no part of it."""
    for path in sorted(ROOT.rglob("*.md")):
        folders = path.relative_to(ROOT).parts[:-1]
        linked = folders[:2] == ("ansm_plugin", "recipes")  # the link that type checkers follow
        if not linked and not any(f.startswith(".") or f in ELSEWHERE for f in folders):
            yield path


DOCUMENTS = list(documents())


def anchors(markdown: str) -> set[str]:
    """Return the anchors of the headings as GitHub makes them, the second of a name with -1."""
    found: dict[str, int] = {}
    made = set()
    for heading in _HEADING.findall(re.sub(r"^```.*?^```$", "", markdown, flags=re.M | re.S)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        made.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return made


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    wrong = []
    for link in _LINK.findall(_CODE.sub("", page.read_text(encoding="utf-8"))):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        found = target.exists() and (
            not anchor or anchor in anchors(target.read_text(encoding="utf-8"))
        )
        if not found:
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    if not (ROOT / "recipes" / "lab" / "results").exists():
        pytest.skip("the sdist has no pictures and results")
    assert broken(page) == []


def test_the_documents_are_found() -> None:
    names = {str(page.relative_to(ROOT)) for page in DOCUMENTS}
    assert {"README.md", "CONTRIBUTING.md", "recipes/PROOF.md", "recipes/lab/PROOF.md"} <= names


def test_a_link_to_nothing_and_an_anchor_of_nothing_are_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# One `thing`\n\n## Two: a+b\n\n```\n# no heading, [no](link)\n```\n"
        "[fine](#one-thing) [fine](page.md#two-ab) `[code](is no link)` [web](https://x.org/y)\n"
        "[gone](gone.md) [gone](#no-heading-no)\n"
    )
    assert broken(page) == ["gone.md", "#no-heading-no"]
