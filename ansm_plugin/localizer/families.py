"""Families of localizers, resolved when asked for.

The core reaches `backbones` through here alone, so that importing ansm_plugin costs torch and
nothing heavier. Third parties add families by the entry-point group `ansm_plugin.localizers`:
name -> a module with the functions of `Family`. One of theirs that fails is named and left out.
"""

from __future__ import annotations

import importlib
import warnings
from dataclasses import replace
from typing import Protocol, cast

from torch import nn

from ansm_plugin import plugins
from ansm_plugin.errors import AnsmError, ConfigError, LocalizerError, unknown_name
from ansm_plugin.localizer.guesses import Guess, how_to_say
from ansm_plugin.localizer.probe import SIDES, is_same, probed_mask
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.stated import stated
from ansm_plugin.localizer.wrappers import only_learner, through_wrappers

LOCALIZER_GROUP = "ansm_plugin.localizers"
# Asked in this order; `plain` takes whatever nobody else knows.
_FAMILIES = {
    "smp": "ansm_plugin.backbones.smp_family",
    "timm": "ansm_plugin.backbones.timm_family",
    "transformers": "ansm_plugin.backbones.transformers_family",
    "torchvision": "ansm_plugin.backbones.torchvision_family",
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
    """Return how to talk to `localizer`: what was stated, else what the first family says.

    What DataParallel, torch.compile, a Sequential or a Lightning module hide is looked at too: see
    `inner`. A third party's family that fails is left out, with a warning that names its
    distribution. A warning says where a fact was guessed.

    Raises:
        LocalizerError: no torch module, or its family does not understand it.
    """
    if not isinstance(localizer, nn.Module):
        raise LocalizerError(f"a localizer is a torch.nn.Module; given {type(localizer).__name__}.")
    if (spec := stated(localizer) or _described(localizer)) is not None:
        return spec
    bare, core = through_wrappers(localizer), inner(localizer)
    known = None if core is localizer else _described(core)
    if known is None:
        return family("plain").describe(bare)
    sides = _sides(known)
    if bare is core or is_same(probed_mask(bare, sides), probed_mask(core, sides)):
        return known
    said = ("mean", "std", "activation")
    text = (
        f"{type(bare).__name__} gives another mask than the {type(core).__name__} inside it, which "
        "therefore does not say how its input is normalised and what its mask holds. Give "
        f"{how_to_say(*said)}."
    )
    warnings.warn(Guess(text, *said), stacklevel=2)
    spec = family("plain").describe(bare)
    return replace(spec, stride=known.stride, smallest=known.smallest, taps=known.taps)


def inner(localizer: nn.Module) -> nn.Module:
    """Return the localizer inside whatever only passes images on to it; else the given one.

    Looked through are DataParallel, DistributedDataParallel, torch.compile, an average of weights;
    and a module, such as a Lightning module or a Sequential, all of whose parameters are those of
    one localizer that a family knows.
    """
    bare = through_wrappers(localizer)
    only = only_learner(bare)
    if only is None or type(bare).__module__.startswith("ansm_plugin."):  # a defence is more
        return bare
    core = inner(only)
    return core if _knows(core) and not _knows(bare) else bare


def _sides(spec: LocalizerSpec) -> tuple[int, ...]:
    """Return the sides of images to try on a localizer that is described."""
    return tuple(max(spec.smallest, side + -side % spec.stride) for side in SIDES[:1])


def _knows(localizer: nn.Module) -> bool:
    """Return whether a family other than `plain` knows a localizer; one that fails does not."""
    for name in family_names():
        try:
            if name != "plain" and family(name).matches(localizer):
                return True
        except (Exception, SystemExit):  # `describe` names it
            continue
    return False


def _described(localizer: nn.Module) -> LocalizerSpec | None:
    """Return what the first family other than `plain` says that knows a localizer, or None."""
    for name in family_names():
        if name not in _FAMILIES:
            spec = _description(name, localizer)
            if spec is not None:
                return spec
        elif name != "plain" and (ours := family(name)).matches(localizer):
            return ours.describe(localizer)
    return None


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
    warnings.warn(f"{reason} It is left out.", stacklevel=4)
    return None


def _origin(name: str) -> str:
    return f"family {name!r} of {plugins.origin(plugins.discover(LOCALIZER_GROUP)[name])}"
