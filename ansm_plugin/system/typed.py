"""Tables of JSON or TOML read as the types that wrote them; whatever does not fit is named."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.paths import user_path

C = TypeVar("C")


def from_table(kind: type[C], table: Any, where: str) -> C:
    """Build a dataclass or a TypedDict from a table, checking every name and every type.

    Args:
        kind: its fields are of type bool, int, float, str, Path, a Literal of these, None beside
            one of them, a tuple or a dict of them, or again a dataclass or a TypedDict.
        table: names and values; fields that are not named keep their defaults.
        where: what the table is, for messages, such as the path of its file.

    Raises:
        ConfigError: not a table, an unknown field (nearest names offered), a field missing, or a
            value of another type, NaN and infinity among them.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where} is {table!r}; it must be a table.")
    hints = typing.get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise ConfigError(unknown_name(f"field in {where}", str(name), hints))
    values = {name: _converted(hints[name], v, f"{where}: {name}") for name, v in table.items()}
    missing = _required(kind) - values.keys()
    if missing:
        raise ConfigError(f"{where} has no {', '.join(sorted(missing))}; it needs every field.")
    try:
        return kind(**values)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _required(kind: Any) -> set[str]:
    if typing.is_typeddict(kind):
        return set(kind.__required_keys__)
    missing = dataclasses.MISSING
    return {
        field.name
        for field in dataclasses.fields(kind)
        if field.default is missing and field.default_factory is missing
    }


def _converted(hint: Any, value: Any, where: str) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None and type(None) in typing.get_args(hint):
            return None
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return from_table(hint, value, where)
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        if value not in inner:
            raise ConfigError(unknown_name(f"value of {where}", str(value), inner))
        return value
    if isinstance(hint, type) and issubclass(hint, tuple):  # a tuple that can be asked
        origin, inner = hint, typing.get_args(vars(hint)["__orig_bases__"][0])
    if isinstance(origin, type):
        return _collected(origin, inner, value, where)
    return _plain(hint, value, where)


def _collected(origin: Any, inner: tuple[Any, ...], value: Any, where: str) -> Any:
    """Return a dict, a list or a tuple with every entry converted."""
    if issubclass(origin, Mapping):
        if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
            raise ConfigError(f"{where} is {value!r}; it must be a table.")
        return {name: _converted(inner[1], v, f"{where}: {name}") for name, v in value.items()}
    if not isinstance(value, list):
        raise ConfigError(f"{where} is {value!r}; it must be a list.")
    is_open = origin is list or inner[-1] is Ellipsis
    each = [inner[0]] * len(value) if is_open else inner
    if len(each) != len(value):
        raise ConfigError(f"{where} has {len(value)} entries; it must have {len(each)}.")
    return origin(
        _converted(h, v, f"{where}, entry {number}" if isinstance(v, dict) else where)
        for number, (h, v) in enumerate(zip(each, value, strict=True), start=1)
    )


def _plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is Path:
        if not isinstance(value, str):
            raise ConfigError(f"{where} is {value!r}; it must be a path.")
        return user_path(value)
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)  # NaN is not below anything
    # For Python true is a 1, and NaN a float; here neither is a number.
    if type(value) is not hint or hint is float:
        raise ConfigError(f"{where} is {value!r}; it must be of type {hint.__name__}.")
    return value
