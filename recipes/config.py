"""Recipe configs as TOML files that reproduce a run."""

from __future__ import annotations

import dataclasses
import sys
import tomllib
import types
import typing
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.files import write_whole

C = TypeVar("C")


def save_config(config: Any, path: Path) -> None:
    """Write a config dataclass as TOML; fields that are None are left out.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    table = _plain(dataclasses.asdict(config))
    write_whole(path, lambda stream: tomli_w.dump(table, stream))


def load_config(kind: type[C], path: Path) -> C:
    """Read a config dataclass from TOML; fields that are not named keep their defaults.

    Raises:
        ConfigError: unreadable file, unknown field (nearest names offered) or bad value.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of the file, of text, of TOML
        raise ConfigError(f"cannot read config {path}: {error}") from error
    return from_table(kind, table, str(path))


def from_table(kind: type[C], table: dict[str, Any], where: str) -> C:
    """Build a config dataclass from nested dicts, checking every field name."""
    hints = typing.get_type_hints(kind)
    for name in table:
        if name not in hints:
            raise ConfigError(unknown_name(f"field in {where}", name, hints))
    values = {k: _convert(hints[k], v, f"{where}: {k}") for k, v in table.items()}
    try:
        return kind(**values)
    except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    hint = next(o for o in options if o is not type(None))
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {value!r}; it must be a table.")
        return from_table(hint, value, where)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {value!r}; it must be a list.")
        inner = typing.get_args(hint)
        each = [inner[0]] * len(value) if inner[-1] is Ellipsis else inner
        if len(each) != len(value):
            raise ConfigError(f"{where} has {len(value)} entries; it must have {len(each)}.")
        return tuple(_convert(h, v, where) for h, v in zip(each, value, strict=True))
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            raise ConfigError(unknown_name(f"value of {where}", str(value), typing.get_args(hint)))
        return value
    if hint is Path:
        if not isinstance(value, str):
            raise ConfigError(f"{where} is {value!r}; it must be a path.")
        return Path(value)
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)  # NaN is not below anything
    # For Python true is a 1, and NaN a float; here neither is a number.
    if isinstance(hint, type) and (type(value) is not hint or hint is float):
        raise ConfigError(f"{where} is {value!r}; it must be of type {hint.__name__}.")
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value
