"""Families of localizers, resolved when asked for.

The core reaches `backbones` through here alone, so that importing ansm_plugin costs torch and
nothing heavier. Third parties add families by the entry-point group `ansm_plugin.localizers`:
name -> a module with the functions of `Family`. One of theirs that fails is named and left out.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Protocol, cast

from torch import nn

from ansm_plugin import plugins
from ansm_plugin.errors import AnsmError, ConfigError, LocalizerError, unknown_name
from ansm_plugin.localizer.spec import LocalizerSpec

LOCALIZER_GROUP = "ansm_plugin.localizers"
# Asked in this order; `plain` takes whatever nobody else knows.
_FAMILIES = {
    "smp": "ansm_plugin.backbones.smp_family",
    "timm": "ansm_plugin.backbones.timm_family",
    "plain": "ansm_plugin.backbones.plain_family",
}
_FUNCTIONS = ("matches", "describe", "build")


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
            or lacks a function (its distribution is named).
    """
    if name in _FAMILIES:
        return cast(Family, importlib.import_module(_FAMILIES[name]))
    if name not in plugins.discover(LOCALIZER_GROUP):
        raise ConfigError(unknown_name("localizer family", name, family_names()))
    try:
        found = plugins.load(LOCALIZER_GROUP, name)
    except plugins.PluginError as error:
        raise ConfigError(f"localizer family: {error}") from error
    missing = [part for part in _FUNCTIONS if not callable(getattr(found, part, None))]
    if missing:
        raise ConfigError(
            f"localizer {_origin(name)} has no function {', '.join(missing)}; a family has "
            f"{', '.join(_FUNCTIONS)}."
        )
    return cast(Family, found)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to `localizer`, asked of the first family that knows it.

    A third party's family that fails is left out, with a warning that names its distribution.

    Raises:
        LocalizerError: no torch module, or its family does not understand it.
    """
    if not isinstance(localizer, nn.Module):
        raise LocalizerError(f"a localizer is a torch.nn.Module; given {type(localizer).__name__}.")
    for name in family_names():
        if name not in _FAMILIES:
            spec = _description(name, localizer)
            if spec is not None:
                return spec
        elif (ours := family(name)).matches(localizer):
            return ours.describe(localizer)
    raise LocalizerError(f"no family knows {type(localizer).__name__}; pass spec=LocalizerSpec().")


def build(name: str, query: str) -> nn.Module:
    """Return an untrained localizer of a family.

    Args:
        name: of the family.
        query: the text after `family:`.

    Raises:
        ConfigError: as in `family`.
        LocalizerError: the family cannot build it; a third party's is named with its distribution.
    """
    found = family(name)
    if name in _FAMILIES:
        return found.build(query)
    try:
        built: object = found.build(query)
    except AnsmError:  # what the family itself tells its users
        raise
    except (Exception, SystemExit) as error:
        raise LocalizerError(f"{_origin(name)} cannot build {query!r}: {error!r}.") from error
    if not isinstance(built, nn.Module):
        raise LocalizerError(
            f"{_origin(name)} built {type(built).__name__} from {query!r}; it must return a "
            "torch.nn.Module."
        )
    return built


def _description(name: str, localizer: nn.Module) -> LocalizerSpec | None:
    """Ask a third party's family; None where it does not know the localizer, or fails."""
    try:
        found = family(name)
    except ConfigError as error:
        reason = str(error)
    else:
        try:
            if not found.matches(localizer):
                return None
            spec: object = found.describe(localizer)
            if isinstance(spec, LocalizerSpec):
                return spec
            reason = f"{_origin(name)} describes it by {type(spec).__name__}, no LocalizerSpec."
        except (Exception, SystemExit) as error:
            reason = f"{_origin(name)} fails on {type(localizer).__name__}: {error!r}."
    warnings.warn(f"{reason} It is left out.", stacklevel=3)
    return None


def _origin(name: str) -> str:
    return f"family {name!r} of {plugins.origin(plugins.discover(LOCALIZER_GROUP)[name])}"
