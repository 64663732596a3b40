"""Options of `ansm train RECIPE`: the recipe's config, a TOML file, and short aliases."""

from __future__ import annotations

import argparse
import dataclasses
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import tyro

from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.config import load_config

# Short option -> the config field that it sets, wherever the recipe has one.
_ALIASES = {
    "--images": "data.images",
    "--masks": "data.masks",
    "--pattern": "data.pattern",
    "--steps": "fit.steps",
}
_DESCRIPTION = (
    "--output DIR is required; --config FILE.toml gives fields that options override. Short for "
    f"fields of every stage: {', '.join(_ALIASES)}."
)


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
