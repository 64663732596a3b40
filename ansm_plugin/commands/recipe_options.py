"""Options of `ansm train RECIPE`: the recipe's config, a TOML file, and short aliases."""

from __future__ import annotations

import argparse
import dataclasses
import operator
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import tyro

from ansm_plugin.commands.values import filled, names, path
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.config import load_config
from ansm_plugin.system.paths import user_path

# Short option -> the config field that it sets, wherever the recipe has one.
_ALIASES = {
    "--images": "data.images",
    "--masks": "data.masks",
    "--pattern": "data.pattern",
    "--steps": "fit.steps",
}
# The same for options without a value.
_FLAGS = {"--recursive": "data.recursive", "--allow-outside": "data.allow_outside"}
# Facts of the localizer that are lists: written with commas, as other commands have them.
_LISTS = ("--localizer-mean", "--localizer-std", "--localizer-taps")
_DESCRIPTION = (
    "--output DIR is required; --config FILE.toml gives fields that options override; --device "
    "NAME computes on cpu, cuda, cuda:1, mps or xpu (default: auto). Short for "
    f"fields of every stage: {', '.join([*_ALIASES, *_FLAGS])}."
)


def read_device(arguments: Sequence[str]) -> tuple[str, list[str]]:
    """Return what `--device` says, "auto" without it, and the other arguments.

    Raises:
        SystemExit: it has no value.
    """
    own = argparse.ArgumentParser(prog="ansm train", add_help=False, allow_abbrev=False)
    own.add_argument("--device", type=filled, default="auto")
    given, rest = own.parse_known_args(list(arguments))
    return given.device, rest


def precisions(config: Any) -> dict[str, str]:
    """Return the precision of each training and of the attacks on its crops, by what it is of."""
    found: dict[str, str] = {}
    for field in field_paths(type(config)):
        above, _, name = field.rpartition(".")
        if name == "precision":
            part = above.removesuffix("fit").rstrip(".") or "training"
            found[part] = operator.attrgetter(field)(config)
    return found


def read_options(kind: type, name: str, arguments: Sequence[str]) -> tuple[Any, Path]:
    """Return the config of a recipe and the output folder.

    Raises:
        ConfigError: `--output` is missing, the TOML file is wrong, or a value is out of range.
        SystemExit: an unknown option (nearest ones offered) or a value of another type.
    """
    own = argparse.ArgumentParser(prog=f"ansm train {name}", add_help=False, allow_abbrev=False)
    own.add_argument("--output", type=path)
    own.add_argument("--config", type=path)
    for alias in _ALIASES:
        own.add_argument(alias, type=filled)
    for alias in _FLAGS:
        own.add_argument(alias, action="store_const", const="")
    given, rest = own.parse_known_args(list(arguments))
    short = [*_ALIASES, *_FLAGS]
    fields = expand_aliases(
        kind, {a: getattr(given, a.lstrip("-").replace("-", "_")) for a in short}
    )
    default = kind() if given.config is None else load_config(kind, given.config)
    config = tyro.cli(
        kind,
        args=[*fields, *_without_commas(rest)],
        default=default,
        prog=f"ansm train {name}",
        description=_DESCRIPTION,
    )
    if given.output is None:
        raise ConfigError("--output is missing; name the folder that receives the weights.")
    return _at_home(config), given.output


def _without_commas(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with lists as tyro reads them: `0.5,0.5,0.5` becomes three words."""
    words: list[str] = []
    for before, word in zip(("", *arguments), arguments, strict=False):
        option, _, value = word.partition("=")
        if option in _LISTS and value:
            words += [option, *names(value)]
        else:
            words += names(word) if before in _LISTS else [word]
    return words


def _at_home(config: Any) -> Any:
    """Return a config with `~` at the start of its paths replaced, which tyro leaves as it is."""
    if isinstance(config, Path):
        return user_path(str(config))
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        return config
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)}
    found = {name: _at_home(value) for name, value in fields.items()}
    changed = {name: value for name, value in found.items() if value != fields[name]}
    return dataclasses.replace(config, **changed) if changed else config


def expand_aliases(kind: type, given: dict[str, str | None]) -> list[str]:
    """Replace short options by those of the fields that they set, e.g. both stages' steps.

    An empty value is that of an option which takes none.
    """
    paths = list(field_paths(kind))
    expanded: list[str] = []
    for alias, value in given.items():
        if value is None:
            continue
        target = {**_ALIASES, **_FLAGS}[alias]
        for field in paths:
            if field == target or field.endswith(f".{target}"):
                expanded += [f"--{field.replace('_', '-')}", *([] if alias in _FLAGS else [value])]
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
