"""Pages let their own style and script be, and nothing else: no browser is needed to see it."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser

import pytest

from ansm_plugin.evaluation import Evaluation
from ansm_plugin.report.compared import Run, compare
from ansm_plugin.report.comparison_page import comparison_page
from ansm_plugin.report.page import page
from ansm_plugin.report.per_photograph import PerPhotograph
from ansm_plugin.report.policy import policy


class _Held(HTMLParser):
    """What a page says of itself, what stands in its styles and scripts, and its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.policies: list[str] = []
        self.inside: dict[str, list[str]] = {"style": [], "script": []}
        self.attributes: set[str] = set()
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        self._open = tag if tag in self.inside else ""
        if self._open:
            self.inside[tag].append("")
        found = dict(attrs)
        if found.get("http-equiv") == "Content-Security-Policy":
            self.policies.append(str(found["content"]))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open][-1] += data


@pytest.mark.parametrize("kind", ["evaluation", "comparison"])
def test_a_page_names_the_hashes_of_what_it_holds(evaluation: Evaluation, kind: str) -> None:
    runs = [Run(name=n, evaluation=evaluation, values=PerPhotograph(None)) for n in ("a", "b")]
    held = _Held(page(evaluation) if kind == "evaluation" else comparison_page(compare(runs)))
    (said,) = held.policies
    allowed = dict(part.split(" ", 1) for part in said.split("; "))
    assert allowed["default-src"] == allowed["base-uri"] == allowed["form-action"] == "'none'"
    assert allowed["img-src"] == "data:"
    for tag, (content,) in held.inside.items():
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[f"{tag}-src"] == f"'sha256-{digest}'"
        assert len(content) > 100
    # What no hash can allow: styles at a tag, and scripts that wait for an event.
    assert not {name for name in held.attributes if name == "style" or name.startswith("on")}


def test_a_policy_is_of_its_contents() -> None:
    assert policy("a", "b") != policy("a", "c")
    assert policy("a", "b") != policy("c", "b")
