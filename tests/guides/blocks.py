"""The code of the guides, and how it runs: in order, in one folder, in one process.

A guide is Markdown. Of its fenced blocks

- `python` is executed, all blocks of a guide in one namespace;
- `python title="NAME.py"` becomes that file, so that a later block can import it;
- `toml title="pyproject.toml"` is installed as far as its entry points go;
- `bash` holds commands of ours, each of which must end with 0;
- any other language is only shown.

A comment `<!-- not run: REASON -->` above a block leaves it out; what is left out has a reason.
"""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from ansm_plugin import cli

GUIDES = Path(__file__).parents[2] / "recipes" / "guides"
RUN = ("python", "bash", "toml")
_BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+?) -->\n\n?)?"
    r'^```(?P<language>\w+)(?: title="(?P<title>[^"\n]+)")?\n(?P<text>.*?)^```$',
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a guide.

    Attributes:
        language: first word behind the fence.
        text: what stands between the fences.
        title: file that it becomes, "" for none.
        reason: why it is not run, "" where it is.
        span: where it begins and ends in the guide, comment and fences included.
    """

    language: str
    text: str
    title: str
    reason: str
    span: tuple[int, int]

    @property
    def runs(self) -> bool:
        """Whether something is done with it."""
        return self.language in RUN and not self.reason


def guides() -> list[Path]:
    """Return all guides; the page that lists them is none."""
    return sorted(path for path in GUIDES.glob("*.md") if path.name != "README.md")


def blocks(markdown: str) -> Iterator[Block]:
    """Yield the fenced blocks of a guide, in their order."""
    for found in _BLOCK.finditer(markdown):
        part = {name: text or "" for name, text in found.groupdict().items()}
        yield Block(**part, span=found.span())


def run_guide(markdown: str, folder: Path) -> dict[str, Any]:
    """Run the blocks of a guide in the current folder, which `folder` names and imports see.

    Returns:
        the names that its Python left behind.
    """
    names: dict[str, Any] = {"__name__": "guide"}
    for block in blocks(markdown):
        if not block.runs:
            continue
        if block.language == "toml":
            install(block.text, folder)
        elif block.title:
            (folder / block.title).write_text(block.text)
        elif block.language == "python":
            exec(compile(block.text, "guide", "exec"), names)
        else:
            for words in commands(block.text):
                done = program(words)()
                assert done == 0, f"{shlex.join(words)} ended with {done}"
    return names


def commands(text: str) -> Iterator[list[str]]:
    """Yield the commands of a block of bash as words."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def program(words: list[str]) -> Callable[[], int]:
    """Return what runs a command of ours in this process, and returns its exit code."""
    match words:
        case ["ansm", *rest]:
            return lambda: cli.main(rest)
        case ["python", "-m", module, *rest] if module.startswith("ansm_plugin."):
            return lambda: int(import_module(module).main(rest))
    raise AssertionError(f"not one of our commands: {shlex.join(words)}; say why it is not run")


def install(pyproject: str, folder: Path) -> None:
    """Write what `pip install` would write of a package's entry points into a folder of imports."""
    project = tomllib.loads(pyproject)["project"]
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in entries.items())]
    info = folder / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    about = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(about)
