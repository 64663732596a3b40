"""Write docs/errors.md from the code: `python tests/hardening/errors_page.py`.

Every class of error with its cause and remedy, from its docstring, and every message, from the
`raise` statements. What is put into a message when it is raised is shown as an ellipsis.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # as a script it must not describe another, installed version

from ansm_plugin import errors  # noqa: E402
from ansm_plugin.plugins import PluginError  # noqa: E402

PAGE = ROOT / "docs" / "errors.md"
FOLDERS = ("ansm_plugin", "backbones", "recipes")
HEAD = """# Errors

Every mistake that a user can make and mend raises a child of `AnsmError` with one message: what was
given, what is allowed, what to do. On the command line it is printed without a traceback; the exit
code is 2, and 130 for an interrupted run. Exit code 1 with a traceback is a mistake of ours, or of
other code that was called: then the message names its file, line and package.

Made from the code by `python tests/hardening/errors_page.py`; a test compares.

| error | is a | when | what to do |
|---|---|---|---|
"""


class Message(NamedTuple):
    """One `raise` statement."""

    error: str
    text: str
    module: str


def classes() -> list[type[Exception]]:
    """Return all errors of ours, parents first."""
    ours = [
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, errors.AnsmError)
    ]
    return [*ours, PluginError]


def row(kind: type[Exception]) -> str:
    """Return the line of the table of an error."""
    cause, _, rest = inspect.cleandoc(kind.__doc__ or "").partition("\n")
    remedy = " ".join(rest.split()).removeprefix("Remedy: ")
    remedy = remedy or "Install, update or remove the distribution that the message names."
    return f"| `{kind.__name__}` | `{kind.__bases__[0].__name__}` | {cause} | {remedy} |"


def messages() -> Iterator[Message]:
    """Yield the message of every `raise` of an error of ours."""
    names = {kind.__name__ for kind in classes()}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            # Through the links inside the package they would come twice.
            if path.relative_to(ROOT).parts[1] in FOLDERS:
                continue
            for call in ast.walk(ast.parse(path.read_text())):
                if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                    continue
                text = template(call.args[0]) if call.args else ""
                if call.func.id in names and len(text) > 3:
                    yield Message(call.func.id, text, str(path.relative_to(ROOT)))


def template(node: ast.expr) -> str:
    """Return the text of an f-string with an ellipsis for what is put in."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return template(node.left) + template(node.right)
    return "…"


def page() -> str:
    """Return the whole page."""
    lines = [HEAD + "\n".join(row(kind) for kind in classes())]
    found = list(dict.fromkeys(messages()))
    for kind in classes():
        own = [m for m in found if m.error == kind.__name__]
        if own:
            lines.append(f"\n## {kind.__name__}\n")
            lines += [f"- {shown(m.text)} ({m.module})" for m in own]
    return "\n".join(lines) + "\n"


def shown(text: str) -> str:
    """Return a message on one line, as code, since it may hold marks of any kind."""
    return "`" + " ".join(text.replace("`", "'").split()) + "`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
