"""The reference of the command line, made of the dataclasses that the options are."""

from __future__ import annotations

import importlib
import operator

from ansm_plugin.cli import COMMANDS
from ansm_plugin.commands.options import arguments_of, help_of, shown_of, typed
from ansm_plugin.commands.recipe_help import said_of
from ansm_plugin.commands.recipe_options import field_paths, written
from ansm_plugin.commands.renamed import GONE_IN, RENAMED
from ansm_plugin.commands.train_options import TrainOptions
from ansm_plugin.recipes.registry import recipe_module, recipe_names

_COMMANDS = """# Commands

Made of the options themselves, so this is what `ansm COMMAND --help` says. Exit codes: 0 done; 2 a
mistake in what was asked, with one message; 130 interrupted, and the same command goes on; 1 ours,
or that of other code which was called.

A word means the same on every command. Lists have commas, and spaces will do where a command takes
no words without an option. Radii are in grey levels of 255. Training steps are `--steps`, those of
an attack `--attack-steps`; weights are `--ansm FILE`, a shape is `--preset NAME`.
"""
_OLD = f"""## Words of 0.1

They work until {GONE_IN}, and say the new one.

| command | old | new |
|---|---|---|
"""
_RECIPES = """# Recipes

The choices of `ansm train RECIPE`, as options, and of the config class of each in Python. The same
names, in tables, are the TOML file that every run writes beside its weights. What most trainings
are told has [short words](commands.md#ansm-train), which set the fields of this meaning in every
stage; the option of a field wins over them.
"""


def commands() -> str:
    """Return the page of all commands."""
    return "\n".join([_COMMANDS, *(_command(name) for name in COMMANDS), _OLD + _old_words()])


def _old_words() -> str:
    return "".join(
        _row(f"ansm {command}", f"`{old}`", f"`{renamed.new}`") + "\n"
        for command, table in RENAMED.items()
        for old, renamed in table.items()
    )


def _command(name: str) -> str:
    head = f"## ansm {name}\n\n{COMMANDS[name][:1].upper()}{COMMANDS[name][1:]}.\n"
    kind = importlib.import_module(f"ansm_plugin.commands.{name}").OPTIONS
    if kind is None:
        head += f"\n`ansm {name} RECIPE --output DIR`; more, by recipe: [Recipes](recipes.md).\n"
        kind = TrainOptions
    rows = [_row(f"`{shown_of(field)}`", help_of(field)) for field in arguments_of(kind)]
    return _table(head, "option", rows) if rows else f"{head}\nNo options.\n"


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
        rows.append(_row(f"`{written(path)}`", said_of(kind, path), f"`{_shown(value)}`"))
    return _table(head, "option", rows, "default")


def _shown(value: object) -> str:
    return "(none)" if value is None or value in ((), "") else typed(value)


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
