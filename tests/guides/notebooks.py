"""The guides as notebooks: `python tests/guides/notebooks.py` writes them, `--execute` runs four.

Prose and what a guide only shows become Markdown cells, what it runs becomes code cells. A file of
the reader's is written by `%%writefile`, commands run in `%%bash`. Cells have no output: it would
differ from machine to machine.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from guides.blocks import GUIDES, Block, blocks, guides

FOLDER = GUIDES / "notebooks"
# All but those that need a host toolkit, or a package of the reader's own to be installed.
EXECUTED = (
    "defend-my-smp-model",
    "many-gpus",
    "measure-and-read-the-report",
    "train-on-my-forgeries",
)
_LINK = re.compile(r"\]\((?!https?:|#)([^)]+)\)")
_ABOUT = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def notebook(markdown: str) -> dict[str, Any]:
    """Return a guide as a notebook, in format 4.5."""
    cells = [
        {"id": f"cell-{number}", **cell} for number, cell in enumerate(_cells(markdown), start=1)
    ]
    return {"cells": cells, "metadata": _ABOUT, "nbformat": 4, "nbformat_minor": 5}


def _cells(markdown: str) -> Iterator[dict[str, Any]]:
    """Yield the cells; what stands between two code cells is one of Markdown."""
    begin = 0
    for block in blocks(markdown):
        if not block.runs or block.language == "toml":
            continue
        first, last = block.span
        yield from _prose(markdown[begin:first])
        yield {
            "cell_type": "code",
            "execution_count": None,
            "metadata": {},
            "outputs": [],
            "source": _lines(_code(block)),
        }
        begin = last
    yield from _prose(markdown[begin:])


def _prose(text: str) -> Iterator[dict[str, Any]]:
    if text.strip():
        moved = _LINK.sub(lambda found: f"](../{found[1]})", text.strip())
        yield {"cell_type": "markdown", "metadata": {}, "source": _lines(moved)}


def _code(block: Block) -> str:
    if block.language == "bash":
        return f"%%bash\nset -euo pipefail\n{block.text.rstrip()}"
    return (f"%%writefile {block.title}\n" if block.title else "") + block.text.rstrip()


def _lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def files() -> Iterator[tuple[Path, str]]:
    """Yield where each notebook lies, and its text."""
    for guide in guides():
        made = json.dumps(notebook(guide.read_text(encoding="utf-8")), indent=1, ensure_ascii=False)
        yield FOLDER / f"{guide.stem}.ipynb", made + "\n"


def execute(path: Path) -> None:
    """Run a notebook in an empty folder; the first cell that fails ends the program."""
    import nbformat
    from nbclient import NotebookClient

    with tempfile.TemporaryDirectory() as folder:
        made = nbformat.read(path, as_version=4)
        nbformat.validate(made)
        NotebookClient(made, timeout=600, resources={"metadata": {"path": folder}}).execute()


if __name__ == "__main__":
    if "--execute" in sys.argv:
        for name in EXECUTED:
            execute(FOLDER / f"{name}.ipynb")
            print("executed", name)
    else:
        FOLDER.mkdir(exist_ok=True)
        for path, text in files():
            path.write_text(text, encoding="utf-8")
