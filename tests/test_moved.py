"""Module paths of 0.1 still lead to what lies there now."""

from __future__ import annotations

import importlib
import sys
import warnings

import pytest

import ansm_plugin
from ansm_plugin.errors import ImageError
from ansm_plugin.moved import MOVED

# Of each kind of row, a name that users of 0.1 imported, and where it is defined today.
NAMES = {
    "bench": ("read_material", "evaluation.material"),
    "convert": ("convert_checkpoint", "weights.convert"),
    "evaluation.metrics": ("bootstrap_interval", "metrics.intervals"),
    "pretrained": ("load_pretrained", "defended"),
    "forgeries": ("jpeg", "data.codec"),
    "toolkits.host_attacks": ("evaluate_host", "toolkits.robustness"),
}


@pytest.fixture(autouse=True)
def _import_anew() -> None:
    for name in MOVED:
        sys.modules.pop(f"ansm_plugin.{name}", None)


@pytest.mark.parametrize("old", MOVED)
def test_an_old_path_is_importable_and_names_the_new_one(old: str) -> None:
    with pytest.warns(
        DeprecationWarning, match=rf"{old} has moved to ansm_plugin\.{MOVED[old][0]}"
    ):
        importlib.import_module(f"ansm_plugin.{old}")


@pytest.mark.parametrize("home", sorted({home for homes in MOVED.values() for home in homes}))
def test_every_new_home_is_there(home: str) -> None:
    assert importlib.import_module(f"ansm_plugin.{home}").__doc__


@pytest.mark.parametrize("old", NAMES)
def test_a_name_behind_an_old_path_is_today_s(old: str) -> None:
    name, home = NAMES[old]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = getattr(importlib.import_module(f"ansm_plugin.{old}"), name)
    assert found is getattr(importlib.import_module(f"ansm_plugin.{home}"), name)
    assert found.__module__ == f"ansm_plugin.{home}"


def test_an_old_module_does_not_hide_the_function_of_its_name() -> None:
    """Python puts an imported module where the public name is looked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        importlib.import_module("ansm_plugin.localize")
    assert callable(ansm_plugin.localize)
    assert ansm_plugin.localize.__doc__
    with pytest.raises(ImageError, match="names none"):
        ansm_plugin.localize("forensic-unet", [])


def test_a_name_that_is_nowhere_is_an_ordinary_error() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        bench = importlib.import_module("ansm_plugin.bench")
    with pytest.raises(AttributeError, match=r"'ansm_plugin.bench' has no attribute 'absent'"):
        bench.absent  # noqa: B018


def test_other_modules_that_do_not_exist_still_do_not() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("ansm_plugin.absent")
