"""Recipes by name, resolved when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from ansm_plugin.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    pass


_RECIPES = {
    "localizer": "ansm_plugin.recipes.localizer",
    "ffa": "ansm_plugin.recipes.ffa",
    "mgr": "ansm_plugin.recipes.mgr",
    "two-stage": "ansm_plugin.recipes.two_stage",
    "hardened": "ansm_plugin.recipes.hardened",
}


def recipe_names() -> list[str]:
    """Return the names of all recipes, in the order they are run."""
    return list(_RECIPES)


def recipe_module(name: str) -> object:
    """Return a recipe's module by name, or raise ConfigError with the nearest names."""
    if name not in _RECIPES:
        raise ConfigError(unknown_name("recipe", name, _RECIPES))
    return importlib.import_module(_RECIPES[name])
