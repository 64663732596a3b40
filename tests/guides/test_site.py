"""docs/hook.py: where links lead on the site, what it may not ask for; and the made pages."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from ansm_plugin.cli import COMMANDS
from ansm_plugin.commands.options import arguments_of, shown_of
from ansm_plugin.commands.renamed import RENAMED
from ansm_plugin.commands.train_options import TrainOptions
from ansm_plugin.evaluation.results import THREATS

pytest.importorskip("mkdocs", reason="pip install '.[docs]'")
pytest.importorskip("griffe", reason="pip install '.[docs]'")

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def hook() -> Iterator[ModuleType]:
    """Return what MkDocs is told, imported as MkDocs does: by its file."""
    before = [*sys.path]
    sys.path.insert(0, str(DOCS))
    yield importlib.import_module("hook")
    sys.path[:] = before
    for name in ("hook", "options_pages", "threats_picture"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("link", "source", "target", "expected"),
    [
        ("[a](HOSTS.md)", "README.md", "index.md", "[a](hosts.md)"),
        ("[a](recipes/PROOF.md#b)", "README.md", "index.md", "[a](results/proof.md#b)"),
        ("[a](../PROOF.md)", "recipes/guides/m.md", "guides/m.md", "[a](../results/proof.md)"),
        ("[a](many-gpus.md)", "recipes/guides/m.md", "guides/m.md", "[a](many-gpus.md)"),
        ("[a](docs/errors.md)", "README.md", "index.md", "[a](errors.md)"),
        ("[a](#b) [c](https://d.e)", "README.md", "index.md", "[a](#b) [c](https://d.e)"),
        ("![a](p/q.png)", "recipes/PROOF.md", "results/proof.md", "![a](../recipes/p/q.png)"),
        ('<img src="p.png">', "README.md", "index.md", '<img src="p.png">'),
        ("see [`x.py`](x.py).", "README.md", "index.md", "see `x.py`."),
    ],
)
def test_links_lead_to_where_their_target_is(
    link: str, source: str, target: str, expected: str, hook: ModuleType
) -> None:
    assert hook.moved(link, source, target) == expected


@pytest.mark.parametrize(
    ("page", "asks"),
    [
        ('<script src="https://a.b/c.js"></script>', True),
        ('<link rel="stylesheet" href="//fonts.a/css">', True),
        ("<style>@import 'https://a.b/c.css'</style>", True),
        ("body { background: url(http://a.b/c.png) }", True),
        ('<link href="https://a.b/c.css" rel=stylesheet>', True),
        ('<a href="https://a.b">c</a> <script src="../c.js"></script>', False),
        ('<link rel="canonical" href="https://a.b/c">', False),
        ("background: url('data:image/svg+xml;utf8,<svg/>')", False),
    ],
)
def test_what_a_page_asks_the_outside_for_is_found(page: str, asks: bool, hook: ModuleType) -> None:
    assert bool(hook.requests(page)) == asks


def test_every_option_of_every_command_is_on_its_page(hook: ModuleType) -> None:
    page = hook.options_pages.commands()
    parts = dict(part.split("\n", 1) for part in page.split("\n## ansm ")[1:])
    assert [*parts] == [*COMMANDS]
    parts["plugins"] = parts["plugins"].partition("\n## ")[0]
    for name, part in parts.items():
        kind = importlib.import_module(f"ansm_plugin.commands.{name}").OPTIONS
        for field in [] if kind is None else arguments_of(kind):
            assert f"| `{shown_of(field)}`" in part


def test_every_choice_of_every_recipe_is_explained(hook: ModuleType) -> None:
    page = hook.options_pages.recipes()  # it raises where a docstring leaves a field out
    assert page.count("| `--mgr.fit.steps` | number of optimiser steps.") == 2
    with pytest.raises(LookupError, match="forgotten"):
        hook.options_pages.said_of(dataclasses.make_dataclass("Mine", ["forgotten"]), "forgotten")


def test_old_words_and_the_short_words_of_train_are_on_the_page(hook: ModuleType) -> None:
    page = hook.options_pages.commands()
    for command, table in RENAMED.items():
        for old, renamed in table.items():
            assert f"| ansm {command} | `{old}` | `{renamed.new}` |" in page
    part = page.partition("## ansm train\n")[2].partition("\n## ")[0]
    assert all(f"| `{shown_of(field)}`" in part for field in arguments_of(TrainOptions))


def test_the_picture_shows_every_threat(hook: ModuleType) -> None:
    picture = hook.threats_picture
    assert [*picture.THREATS] == [*THREATS]
    shown = "".join(ElementTree.fromstring(picture.drawn()).itertext())
    assert all(words in shown for _, words in picture.THREATS.values())
