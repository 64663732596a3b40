"""The text behind `family:` in a localizer's name: `name?option=value&...`."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from ansm_plugin.errors import LocalizerError, unknown_name
from ansm_plugin.system.text import parse_value

# How Python, and timm after it, say that a function does not know an option.
_UNEXPECTED = re.compile(r"unexpected keyword argument(?:\(s\):)? \[?'(\w+)'")
# Options of timm that read or fetch weights.
_WEIGHTS = {
    "pretrained",
    "pretrained_cfg",
    "pretrained_cfg_overlay",
    "checkpoint_path",
    "cache_dir",
}


class Query(NamedTuple):
    """What is built, and its options with values as `parse_value` reads them."""

    name: str
    options: dict[str, Any]


def parse_query(query: str) -> Query:
    """Read `name?option=value&...`.

    Raises:
        LocalizerError: an option without a name or a value, one that is given twice, or a number
            that no option takes.
    """
    name, _, text = query.partition("?")
    options: dict[str, Any] = {}
    try:
        for option, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
            if option in options:
                raise ValueError(f"{option} is given twice; give it once")
            if not option.strip() or not value.strip():
                raise ValueError(f"bad query field: {f'{option}={value}'!r}; write option=value")
            options[option] = parse_value(value)
    except ValueError as error:
        raise LocalizerError(f"cannot read {query!r}: {error}.") from error
    return Query(name, options)


def refuse_option(option: str, owner: str, known: Iterable[str]) -> LocalizerError:
    """Return the error for an option that would change nothing, with the nearest names."""
    return LocalizerError(unknown_name(f"option of {owner}", option, set(known) - _WEIGHTS))


def require_timm_options(options: dict[str, Any], owner: str) -> None:
    """Raise LocalizerError for options that timm passes over, or that read or fetch weights."""
    for option, value in options.items():
        if option in _WEIGHTS:
            raise LocalizerError(
                f"{owner} is built without weights, so it takes no {option}; name them behind it: "
                "NAME@weights.safetensors."
            )
        if value is None:  # timm drops those without a look at their names
            raise LocalizerError(f"{option} of {owner} has no value; leave it out.")


def unexpected_option(error: Exception) -> str | None:
    """Return the option that an error says is unknown."""
    found = _UNEXPECTED.search(str(error)) if isinstance(error, TypeError) else None
    return found[1] if found else None


def timm_options(error: Exception) -> set[str]:
    """Return what the class of timm takes that refused an option; empty where it is not found."""
    found = re.match(r"(\w+)\.__init__\(\)", str(error))
    homes = [m for name, m in list(sys.modules.items()) if name.startswith("timm.models.")]
    kinds = [getattr(home, found[1]) for home in homes if found and hasattr(home, found[1])]
    takes = {name for kind in kinds[:1] for name in inspect.signature(kind).parameters}
    return takes - {"self", "kwargs", "args", "cfg"}


def nested(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with those of a dotted name gathered under their first word; tuples as lists.

    `{"a.b": 1, "a.c": (2, 3)}` becomes `{"a": {"b": 1, "c": [2, 3]}}`.

    Raises:
        LocalizerError: a name is both an option and the first word of others.
    """
    tree: dict[str, Any] = {}
    for name, value in options.items():
        *groups, last = name.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
            if not isinstance(place, dict):
                raise LocalizerError(
                    f"{name} does not go with {group}, which has a value; drop one."
                )
        place[last] = list(value) if isinstance(value, tuple) else value
    return tree
