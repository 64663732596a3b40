"""What `ansm train RECIPE --help` prints: the short words, then every field of the recipe."""

from __future__ import annotations

import argparse
import inspect
import operator
import re
from collections.abc import Iterator

from ansm_plugin.commands.options import add_options, arguments_of, name_of, typed
from ansm_plugin.commands.recipe_options import field_paths, hint_of, written
from ansm_plugin.commands.recipe_values import reading_of
from ansm_plugin.commands.train_options import OF_THE_RUN, TrainOptions, fields_of

_ENTRY = re.compile(r" {4}(\w+): (.*)")


def recipe_parser(name: str, kind: type) -> argparse.ArgumentParser:
    """Return a parser whose help tells all that a recipe takes; it reads nothing.

    Args:
        name: of the recipe.
        kind: its config class.
    """
    parser = argparse.ArgumentParser(
        prog=f"ansm train {name}",
        usage=f"ansm train {name} --output DIR [--config FILE.toml] [options]",
        description=_first_line(kind),
        epilog="Each field of the recipe is an option too, named as in the TOML file of a run; it "
        "wins over a short word. Lists have commas.",
    )
    add_options(parser, TrainOptions, lambda word: _sets(kind, word))
    for above, fields in _by_group(kind).items():
        title = f"fields of {above}" if above else "fields of the recipe"
        group = parser.add_argument_group(title, said_of(kind, above) if above else None)
        for path in fields:
            _add(group, kind, path)
    return parser


def _sets(kind: type, word: str) -> str | None:
    """Return what is said behind the help of a short word; None where it does nothing."""
    if word in OF_THE_RUN:
        return ""
    fields = [written(path) for path in fields_of(word, list(field_paths(kind)))]
    if not fields:
        return None
    is_own = fields == [f"--{word.replace('_', '-')}"]
    return "" if is_own else f"; sets {', '.join(fields)}"


def _add(group: argparse._ArgumentGroup, kind: type, path: str) -> None:
    """Let the help of a group tell of a field."""
    said = f"{said_of(kind, path)}{_default(kind, path)}".replace("%", "%%")
    name = written(path)
    if hint_of(kind, path) is bool:
        group.add_argument(name, action="store_true", help=said)
    else:
        group.add_argument(name, metavar=reading_of(hint_of(kind, path)).metavar, help=said)


def fields_shown(kind: type) -> list[str]:
    """Return the paths of fields that no short word of the same name stands for."""
    short = {name_of(field) for field in arguments_of(TrainOptions)}
    return [path for path in field_paths(kind) if written(path) not in short]


def _by_group(kind: type) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for path in fields_shown(kind):
        groups.setdefault(path.rpartition(".")[0], []).append(path)
    return groups


def said_of(kind: type, path: str) -> str:
    """Return what the class that owns a field says of it, in one line.

    Args:
        kind: a config dataclass; the docstrings are those of Google's style, with "Attributes:".
        path: dotted path of a field or of a table of fields.

    Raises:
        LookupError: its class says nothing of it.
    """
    above, _, name = path.rpartition(".")
    owner = hint_of(kind, above) if above else kind
    for ancestor in owner.__mro__:
        said = dict(_attributes(ancestor.__doc__ or ""))
        if name in said:
            return said[name]
    raise LookupError(f"{owner.__qualname__} says nothing of {name}")


def _attributes(docstring: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each entry under "Attributes:"."""
    name, words, inside = "", list[str](), False
    for line in inspect.cleandoc(docstring).splitlines():
        if not line.startswith(" ") and line.strip():
            inside = line == "Attributes:"
        found = _ENTRY.match(line) if inside else None
        if found:
            if name:
                yield name, " ".join(words)
            name, words = found[1], [found[2]]
        elif inside and name and line.strip():
            words.append(line.strip())
    if name:
        yield name, " ".join(words)


def _default(kind: type, path: str) -> str:
    value = operator.attrgetter(path)(kind())
    is_empty = value is None or value == () or value == ""
    return "" if is_empty or isinstance(value, bool) else f" (default: {typed(value)})"


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").partition("\n")[0]
