"""The reference of the command line, made of the dataclasses that the options are."""

from __future__ import annotations

import dataclasses
import importlib
import operator
from collections.abc import Iterator
from typing import Any, get_type_hints

import griffe

from ansm_plugin.cli import COMMANDS
from ansm_plugin.commands.options import arguments_of, help_of, name_of
from ansm_plugin.commands.recipe_options import field_paths
from ansm_plugin.recipes.registry import recipe_module, recipe_names

_COMMANDS = """# Commands

Made of the options themselves, so this is what `ansm COMMAND --help` says. Exit codes: 0 done; 2 a
mistake in what was asked, with one message; 130 interrupted, and the same command goes on; 1 ours,
or that of other code which was called.
"""
_RECIPES = """# Recipes

The choices of `ansm train RECIPE`, as options, and of the config class of each in Python. The same
names, in tables, are the TOML file that every run writes beside its weights. `--images`, `--masks`,
`--pattern` and `--steps` are short for the fields of this name in every stage. `--output DIR` is
required; `--config FILE.toml` gives fields that options override.
"""


def commands() -> str:
    """Return the page of all commands."""
    return "\n".join([_COMMANDS, *(_command(name) for name in COMMANDS)])


def _command(name: str) -> str:
    head = f"## ansm {name}\n\n{COMMANDS[name][:1].upper()}{COMMANDS[name][1:]}.\n"
    kind = importlib.import_module(f"ansm_plugin.commands.{name}").OPTIONS
    if kind is None:
        return f"{head}\n`ansm {name} RECIPE --output DIR`, see [Recipes](recipes.md).\n"
    rows = [_row(f"`{_written(field)}`", help_of(field)) for field in arguments_of(kind)]
    return _table(head, "option", rows) if rows else f"{head}\nNo options.\n"


def _written(field: dataclasses.Field[Any]) -> str:
    """Return an option as it is typed, with what stands for its value."""
    argument = field.metadata["argument"]
    if argument.get("action") == "store_true" or not name_of(field).startswith("--"):
        return name_of(field)
    choices = ",".join(argument.get("choices") or ())
    value = argument.get("metavar") or (f"{{{choices}}}" if choices else field.name.upper())
    return f"{name_of(field)} {value}"


def recipes() -> str:
    """Return the page of all recipes."""
    return "\n".join([_RECIPES, *(_recipe(name) for name in recipe_names())])


def _recipe(name: str) -> str:
    kind = recipe_module(name).RECIPE
    where = f"{kind.__module__}.{kind.__qualname__}"
    said = (kind.__doc__ or "").partition("\n")[0]
    head = f"## ansm train {name}\n\n{said} In Python: `{where}`.\n"
    default = kind()
    rows = []
    for path in field_paths(kind):
        value = operator.attrgetter(path)(default)
        rows.append(_row(f"`--{path.replace('_', '-')}`", _said(kind, path), f"`{_shown(value)}`"))
    return _table(head, "option", rows, "default")


def _said(kind: type, path: str) -> str:
    """Return what the class that owns a field says of it."""
    *above, name = path.split(".")
    for part in above:
        kind = get_type_hints(kind)[part]
    for owner in kind.__mro__:
        if name in (said := dict(_attributes(owner))):
            return said[name]
    raise LookupError(f"{kind.__qualname__} says nothing of {name}")


def _attributes(kind: type) -> Iterator[tuple[str, str]]:
    docstring = griffe.Docstring(kind.__doc__ or "", parser="google")
    for section in docstring.parse(warnings=False):
        if section.kind is griffe.DocstringSectionKind.attributes:
            yield from ((one.name, one.description) for one in section.value)


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_shown, value)) or "(none)"
    return "(none)" if value is None or value == "" else str(value)


def _table(head: str, first: str, rows: list[str], *more: str) -> str:
    columns = [first, "what it is", *more]
    lines = [_row(*columns, escaped=False), "|" + "---|" * len(columns), *rows]
    return head + "\n" + "\n".join(lines) + "\n"


def _row(*cells: str, escaped: bool = True) -> str:
    """Return a row of a table; nothing in its cells ends them or is taken for HTML."""
    lines = [" ".join(cell.split()) for cell in cells]
    if escaped:
        lines = [cell.replace("|", "\\|").replace("<", "&lt;") for cell in lines]
    return "| " + " | ".join(lines) + " |"
