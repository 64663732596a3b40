"""recipes/guides: every block runs, in order, on tiny data; hosts are test doubles."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from guides.blocks import GUIDES, blocks, commands, guides, program, run_guide
from guides.notebooks import FOLDER, files, notebook

TESTS = Path(__file__).parents[1]
DOUBLES = (TESTS / "toolkits" / "doubles", TESTS / "guides" / "doubles")
HOSTS = ("IMDLBenCo", "ForensicHub", "photoholmes", "lightning")


def _forget(names: set[str]) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] in names]:
        del sys.modules[name]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in an empty folder that imports see, with the hosts' doubles behind it."""
    _forget({*HOSTS})
    for place in (*DOUBLES, tmp_path):
        monkeypatch.syspath_prepend(str(place))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    _forget({*HOSTS, *(path.stem for path in tmp_path.glob("*.py"))})
    importlib.invalidate_caches()


@pytest.mark.parametrize("guide", guides(), ids=lambda path: path.stem)
def test_the_blocks_of_a_guide_run(guide: Path, folder: Path) -> None:
    run_guide(guide.read_text(encoding="utf-8"), folder)


@pytest.mark.parametrize("guide", guides(), ids=lambda path: path.stem)
def test_every_block_is_found(guide: Path) -> None:
    text = guide.read_text(encoding="utf-8")
    assert len([*blocks(text)]) == text.count("\n```") // 2
    assert any(block.runs and block.language != "toml" for block in blocks(text))
    assert text.count("not run:") == sum(bool(block.reason) for block in blocks(text))


def test_the_list_names_every_guide() -> None:
    page = (GUIDES / "README.md").read_text(encoding="utf-8")
    assert all(f"]({guide.name})" in page for guide in guides())


# --- the runner itself ----------------------------------------------------------------------------


def test_a_wrong_line_of_python_fails(folder: Path) -> None:
    with pytest.raises(AssertionError, match="on purpose"):
        run_guide("```python\nassert 1 == 2, 'on purpose'\n```\n", folder)


def test_a_command_that_ends_with_2_fails(folder: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 2"):
        run_guide("```bash\nansm info absent.safetensors\n```\n", folder)


def test_a_command_of_others_needs_a_reason_not_to_run(folder: Path) -> None:
    text = "```bash\ntorchrun train.py\n```\n"
    with pytest.raises(AssertionError, match="say why"):
        run_guide(text, folder)
    run_guide("<!-- not run: two machines -->\n\n" + text, folder)


def test_commands_go_on_behind_a_backslash() -> None:
    assert [*commands("ansm a \\\n  --b c  # said\n\nansm d\n")] == [
        ["ansm", "a", "--b", "c"],
        ["ansm", "d"],
    ]
    with pytest.raises(AssertionError):
        program(["python", "-m", "other"])


# --- notebooks ------------------------------------------------------------------------------------


def test_the_notebooks_are_those_of_the_guides() -> None:
    made = dict(files())
    assert {*FOLDER.glob("*.ipynb")} == {*made}
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, "run python tests/guides/notebooks.py"


def test_a_notebook_has_all_code_that_runs_and_all_prose() -> None:
    text = "# T\n\nA [b](c.md).\n\n```python\nx = 1\n```\n\nD\n\n```python title='no'\n"
    text = text.replace("'no'", '"m.py"') + "y = 2\n```\n\n```bash\nansm info a\n```\n"
    cells = ["".join(cell["source"]) for cell in notebook(text)["cells"]]
    assert cells == [
        "# T\n\nA [b](../c.md).",
        "x = 1",
        "D",
        "%%writefile m.py\ny = 2",
        "%%bash\nset -euo pipefail\nansm info a",
    ]
