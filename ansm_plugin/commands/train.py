"""`ansm train RECIPE`: options come from the recipe's config, a TOML file, and short aliases."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import tyro
from rich.console import Console

from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.config import load_config
from ansm_plugin.recipes.registry import recipe_module, recipe_names
from ansm_plugin.system.lock import only_run_in
from ansm_plugin.system.processes import processes
from ansm_plugin.system.progress import Progress
from ansm_plugin.system.text import say

# Short option -> the config field that it sets, wherever the recipe has one.
_ALIASES = {
    "--images": "data.images",
    "--masks": "data.masks",
    "--pattern": "data.pattern",
    "--steps": "fit.steps",
}
_HELP = f"""usage: ansm train RECIPE --output DIR [--config FILE.toml] [options]

RECIPE is one of {", ".join(recipe_names())}.

--output DIR        receives the weights, the full config, and checkpoints to go on from
--config FILE.toml  a config as written by an earlier run; options override its fields
--localizer NAME    reference name, smp:..., timm:... or module:function, @weights.safetensors
--images DIR        forged images with --masks; alone, photographs that forgeries are made of
--masks DIR         masks with the same stems
--pattern GLOB      only images whose file name matches
--steps N           of each stage

`ansm train RECIPE --help` shows every field of the recipe as an option.
"""


_DESCRIPTION = (
    "--output DIR is required; --config FILE.toml gives fields that options override. Short for "
    f"fields of every stage: {', '.join(_ALIASES)}."
)


class Recipe(Protocol):
    """What a recipe module offers."""

    RECIPE: type

    def run(self, recipe: Any, output: Path, progress: Progress) -> Path:
        """Train, and return the file that was written."""


def run(arguments: Sequence[str]) -> None:
    """Train as `arguments` say: the recipe's name, then options.

    Raises:
        AnsmError: an option, a file or a folder cannot be used, or training stopped.
    """
    if not arguments or arguments[0].startswith("-"):
        print(_HELP)
        if "--help" in arguments or "-h" in arguments:
            return
        raise ConfigError(f"no recipe was given; allowed: {', '.join(recipe_names())}.")
    name = arguments[0]
    recipe = cast(Recipe, recipe_module(name))
    config, output = read_options(recipe.RECIPE, name, arguments[1:])
    console = Console(stderr=True)
    with only_run_in(output), show_progress(console) as progress:
        among = processes()  # waits for the first one, which has locked the folder
        among.wait()  # and cleared it, where the processes had met before
        path = recipe.run(config, output, progress)
    if among.is_first:
        say(f"wrote {path}")


def read_options(kind: type, name: str, arguments: Sequence[str]) -> tuple[Any, Path]:
    """Return the config of a recipe and the output folder.

    Raises:
        ConfigError: `--output` is missing, the TOML file is wrong, or a value is out of range.
        SystemExit: an unknown option (nearest ones offered) or a value of another type.
    """
    own = argparse.ArgumentParser(prog=f"ansm train {name}", add_help=False, allow_abbrev=False)
    own.add_argument("--output", type=Path)
    own.add_argument("--config", type=Path)
    for alias in _ALIASES:
        own.add_argument(alias)
    given, rest = own.parse_known_args(list(arguments))
    fields = expand_aliases(kind, {a: getattr(given, a.lstrip("-")) for a in _ALIASES})
    default = kind() if given.config is None else load_config(kind, given.config)
    config = tyro.cli(
        kind,
        args=[*fields, *rest],
        default=default,
        prog=f"ansm train {name}",
        description=_DESCRIPTION,
    )
    if given.output is None:
        raise ConfigError("--output is missing; name the folder that receives the weights.")
    return config, given.output


def expand_aliases(kind: type, given: dict[str, str | None]) -> list[str]:
    """Replace short options by those of the fields that they set, e.g. both stages' steps."""
    paths = list(field_paths(kind))
    expanded: list[str] = []
    for alias, value in given.items():
        if value is None:
            continue
        target = _ALIASES[alias]
        for path in paths:
            if path == target or path.endswith(f".{target}"):
                expanded += [f"--{path.replace('_', '-')}", value]
    return expanded


def field_paths(kind: type, above: str = "") -> Iterator[str]:
    """Yield the dotted path of every plain field of nested config dataclasses."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, path = hints[field.name], above + field.name
        if dataclasses.is_dataclass(hint):
            yield from field_paths(cast(type, hint), f"{path}.")
        else:
            yield path
