"""Families of localizers, resolved when asked for.

The core reaches `backbones` through here alone, so that importing ansm_plugin costs torch and
nothing heavier. Third parties add families by the entry-point group `ansm_plugin.localizers`:
name -> a module with the functions of `Family`.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TYPE_CHECKING, Protocol, cast

from ansm_plugin import plugins
from ansm_plugin.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from torch import nn

    from ansm_plugin.localizer.spec import LocalizerSpec
from torch import nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec

LOCALIZER_GROUP = "ansm_plugin.localizers"
# Asked in this order; `plain` takes whatever nobody else knows.
_FAMILIES = {
    "smp": "ansm_plugin.backbones.smp_family",
    "timm": "ansm_plugin.backbones.timm_family",
    "plain": "ansm_plugin.backbones.plain_family",
}


class Family(Protocol):
    """A kind of localizer we know how to talk to: a module with these three functions."""

    def matches(self, localizer: nn.Module) -> bool:
        """Return whether the localizer is of this family."""

    def describe(self, localizer: nn.Module) -> LocalizerSpec:
        """Return how to talk to the localizer."""

    def build(self, query: str) -> nn.Module:
        """Build an untrained localizer from the text after `family:`, without downloads."""


def family_names() -> list[str]:
    """Return the names of all families, third parties' before `plain`."""
    external = [name for name in plugins.discover(LOCALIZER_GROUP) if name not in _FAMILIES]
    return [*(n for n in _FAMILIES if n != "plain"), *external, "plain"]


def family(name: str) -> Family:
    """Return a family by name.

    Raises:
        ConfigError: unknown (the nearest names are offered), or a third party's that fails to load
            (its distribution is named).
    """
    if name in _FAMILIES:
        return cast(Family, importlib.import_module(_FAMILIES[name]))
    if name not in plugins.discover(LOCALIZER_GROUP):
        raise ConfigError(unknown_name("localizer family", name, family_names()))
    try:
        return cast(Family, plugins.load(LOCALIZER_GROUP, name))
    except plugins.PluginError as error:
        raise ConfigError(f"localizer family: {error}") from error


def family_of(localizer: nn.Module) -> Family:
    """Return the first family that knows the localizer; warn of those that fail to load."""
    for name in family_names():
        try:
            found = family(name)
        except ConfigError as error:
            warnings.warn(f"{error} It is left out.", stacklevel=3)
            continue
        if found.matches(localizer):
            return found
    return family("plain")


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to `localizer`, asked of the first family that knows it."""
    if not isinstance(localizer, nn.Module):
        raise LocalizerError(f"a localizer is a torch.nn.Module; given {type(localizer).__name__}.")
    return family_of(localizer).describe(localizer)
