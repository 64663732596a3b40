"""The type of a recipe's field, as a text on the command line is read and as help shows it."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansm_plugin.commands.values import finite, names, one_of, path, whole

Parse = Callable[[str], Any]


class Reading(NamedTuple):
    """How texts become values of a field.

    Attributes:
        parse: text -> value, ValueError with what is allowed.
        metavar: what stands for the value in the help; "" for a switch.
        is_list: whether the value is a tuple.
        is_open: whether it may have any number of entries.
    """

    parse: Parse
    metavar: str
    is_list: bool = False
    is_open: bool = False


def reading_of(hint: Any) -> Reading:
    """Return how a field of a type is read.

    Raises:
        TypeError: no field of a recipe has such a type yet.
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (kind,) = (one for one in inner if one is not type(None))
        reading = reading_of(kind)
        return reading._replace(parse=or_none(reading.parse))
    if origin is typing.Literal:
        return Reading(one_of(inner), f"{{{','.join(inner)}}}")
    if origin is tuple:
        return _list(inner)
    single = _SINGLE.get(hint)
    if single is None:
        raise TypeError(f"{hint} is no type that the command line knows")
    return single


_SINGLE: dict[Any, Reading] = {
    bool: Reading(str, ""),
    int: Reading(whole, "N"),
    float: Reading(finite, "X"),
    str: Reading(str, "TEXT"),
    Path: Reading(path, "PATH"),
}


def _list(inner: Sequence[Any]) -> Reading:
    """Return how entries with commas are read: as many as there are, or any number."""
    is_open = inner[-1] is Ellipsis
    entry = reading_of(inner[0])

    def parse(text: str) -> tuple[Any, ...]:
        parts = names(text)
        if not is_open and len(parts) != len(inner):
            raise ValueError(f"it must be {len(inner)} values with commas between them")
        return tuple(entry.parse(part) for part in parts)

    letters = "A,B,..." if inner[0] is str else "2,4,..."
    metavar = letters if is_open else ",".join([entry.metavar] * len(inner))
    return Reading(parse, metavar, is_list=True, is_open=is_open)


def or_none(parse: Parse) -> Parse:
    """Return the function that reads "none" as None, to take back what a config says."""

    def parse_or_none(text: str) -> Any:
        return None if text in ("none", "None") else parse(text)

    return parse_or_none
