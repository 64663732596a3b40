"""Recipe configs as TOML files that reproduce a run."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any, TypeVar

import tomli_w

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.files import write_whole
from ansm_plugin.system.paths import path_text
from ansm_plugin.system.typed import from_table
from ansm_plugin.training.targets import ONLY_TRUTH

C = TypeVar("C")


def save_config(config: Any, path: Path) -> None:
    """Write a config dataclass as TOML; fields that are None are left out.

    Raises:
        ConfigError: the folder cannot be written, the disk is full, or a path is no text in UTF-8.
    """
    table = _plain(dataclasses.asdict(config))
    write_whole(path, lambda stream: tomli_w.dump(table, stream))


def load_config(kind: type[C], path: Path) -> C:
    """Read a config dataclass from TOML; fields that are not named keep their defaults.

    A table that names every field of version 0.1 and no later one comes from a run of that version:
    the later fields are those that repeat it.

    Raises:
        ConfigError: unreadable file, unknown field (nearest names offered) or bad value.
    """
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:  # of the file, of text, of TOML
        raise ConfigError(f"cannot read config {path}: {error}") from error
    return from_table(kind, _repeating(table), str(path))


# Tables that version 0.1 wrote: all their fields, and what repeats them among the later ones.
_NO_PRICE = {"original_price": 0.0, "alignment": 0.0}
_VERSION_0_1: dict[str, tuple[set[str], dict[str, Any]]] = {
    "attacks": (
        {"attacks", "eps_255", "steps", "step_shares", "precision"},
        {"targets": list(ONLY_TRUTH)},
    ),
    "mgr": ({"original_weight", "bce_weight", "target", "channel", "fit"}, _NO_PRICE),
    "hardened": (
        {
            *("attacks", "eps_255", "attack_steps", "ramp", "warm_start", "knowing_weight"),
            *("original_weight", "bce_weight", "checks", "fit"),
        },
        {"target": "ground_truth", **_NO_PRICE},
    ),
}


def _repeating(table: dict[str, Any]) -> dict[str, Any]:
    """Return the table of a config with what repeats the run that wrote it."""
    repeated = dict(table)
    for name, (fields, later) in _VERSION_0_1.items():
        given = table.get(name)
        if isinstance(given, dict) and given.keys() == fields:
            repeated[name] = {**given, **later}
    return repeated


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return path_text(str(value)) if isinstance(value, Path | str) else value
