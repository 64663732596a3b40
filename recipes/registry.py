"""Recipes by name, resolved when asked for."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol, cast

from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.progress import Progress

_RECIPES = {
    "localizer": "ansm_plugin.recipes.localizer",
    "ffa": "ansm_plugin.recipes.ffa",
    "mgr": "ansm_plugin.recipes.mgr",
    "two-stage": "ansm_plugin.recipes.two_stage",
    "hardened": "ansm_plugin.recipes.hardened",
}


class Recipe(Protocol):
    """What a recipe's module offers.

    Attributes:
        RECIPE: the frozen dataclass with all choices of a run, each with a default.
    """

    RECIPE: type

    def run(self, recipe: Any, output: Path, progress: Progress) -> Path:
        """Train as a `RECIPE` says, write config and weights, and return the weights' file."""


def recipe_names() -> list[str]:
    """Return the names of all recipes, in the order they are run."""
    return list(_RECIPES)


def recipe_module(name: str) -> Recipe:
    """Return a recipe's module.

    Raises:
        ConfigError: no recipe has this name; the nearest names are offered.
    """
    if name not in _RECIPES:
        raise ConfigError(unknown_name("recipe", name, _RECIPES))
    return cast(Recipe, importlib.import_module(_RECIPES[name]))
