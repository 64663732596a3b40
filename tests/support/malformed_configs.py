"""Malformed configs: of recipes, as tables and as files, and of saved folders."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import tomli_w
import torch
from hypothesis import strategies as st
from support.hunts import JSON, Hunt, damaged
from support.malformed_weights import THIN, localizer, weights
from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.defended import DefendedLocalizer, load_pretrained, wrap_with_ansm
from ansm_plugin.errors import AnsmError, ConfigError
from ansm_plugin.recipes.config import load_config, save_config
from ansm_plugin.recipes.registry import recipe_module, recipe_names
from ansm_plugin.system.typed import from_table


def _tables() -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    return st.sampled_from(recipe_names()).flatmap(
        lambda name: st.tuples(st.just(name), _table(recipe_module(name).RECIPE()))  # type: ignore[attr-defined]
    )


@st.composite
def _table(draw: st.DrawFn, default: Any) -> dict[str, Any]:
    """Draw fields of a config and of the configs inside it, many with values of another kind."""
    fields = draw(st.lists(st.sampled_from([*vars(default), "unknown"]), max_size=4))
    table = {}
    for name in fields:
        value = getattr(default, name, None)
        inner = hasattr(value, "__dataclass_fields__") and draw(st.integers(0, 3)) > 0
        table[name] = draw(_table(value)) if inner else draw(_like(value))
    return table


def _like(value: Any) -> st.SearchStrategy[Any]:
    same = st.just(list(value) if isinstance(value, tuple) else str(value or ""))
    numbers = st.integers(-(2**63), 2**63 - 1) | st.floats() | st.sampled_from([0, 1, 8])
    some = st.booleans() | numbers | st.text(max_size=6)
    return same | some | st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=4), some)


def check_config(folder: Path, case: tuple[str, dict[str, Any]]) -> None:
    """A config is refused, or comes back from its file as it was."""
    name, table = case
    kind = recipe_module(name).RECIPE  # type: ignore[attr-defined]
    try:
        config = from_table(kind, table, "case")
    except ConfigError:
        return
    save_config(config, folder / "config.toml")
    assert load_config(kind, folder / "config.toml") == config


def _toml() -> list[bytes]:
    table = {"steps": 3, "fit": {"learning_rate": 1e-3, "steps": 2}, "localizer": "a:b"}
    return [tomli_w.dumps(table).encode(), b"a = " + b"[" * 3000, b"\xff\xfe"]


def check_toml(folder: Path, content: bytes) -> None:
    """A config file of any bytes is read or refused."""
    path = folder / "config.toml"
    path.write_bytes(content)
    with contextlib.suppress(ConfigError):
        load_config(recipe_module("localizer").RECIPE, path)  # type: ignore[attr-defined]


def check_folder(folder: Path, content: bytes) -> None:
    """The config.json of a saved folder is read or refused."""
    saved = folder / "saved"
    saved.mkdir(exist_ok=True)
    (saved / "ansm.safetensors").write_bytes(weights()[0])
    (saved / "config.json").write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            made = load_pretrained(saved, localizer())
            made.spec.normalise(torch.zeros(1, 3, 8, 8))
        except AnsmError:
            pass


@functools.cache
def _saved_config() -> list[bytes]:
    spec = wrap_with_ansm(_quiet(localizer()), ansm=ANSM(THIN)).spec
    with tempfile.TemporaryDirectory() as folder:
        DefendedLocalizer(localizer(), ANSM(THIN), spec).save_pretrained(folder)
        return [(Path(folder) / "config.json").read_bytes()]


def _quiet(module: nn.Module) -> nn.Module:
    module.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}  # type: ignore[assignment]
    return module


@st.composite
def _folders(draw: st.DrawFn) -> bytes:
    """Draw a config.json with fields of its spec replaced."""
    config = json.loads(_saved_config()[0])
    fields = st.sampled_from([*config["spec"], "unknown"])
    config["spec"] |= draw(st.dictionaries(fields, JSON, max_size=3))
    return json.dumps(
        {**config, **draw(st.dictionaries(st.sampled_from([*config]), JSON, max_size=1))}
    ).encode()


HUNTS = [
    Hunt("configs", _tables(), check_config),
    Hunt("config files", damaged(_toml) | st.binary(max_size=60), check_toml),
    Hunt("saved folders, damaged", damaged(_saved_config), check_folder),
    Hunt("saved folders, fields", _folders(), check_folder),
]
