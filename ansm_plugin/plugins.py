"""Plugins by entry point: how we are found, and how a host toolkit finds plugins.

Nothing here imports torch before it is used. The part between the two marks needs the standard
library alone, so that a host toolkit can copy it instead of depending on us.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

# --- copy from here, with `os`, `warnings`, `EntryPoint` and `entry_points` from above ------------

API_VERSION = 1


class PluginError(ImportError):
    """A plugin is missing, fails to load, or speaks another API; the message names the culprit."""


def discover(group: str) -> dict[str, EntryPoint]:
    """Return the plugins of a group by name; none of them is imported.

    The environment variable FORENSICS_PLUGINS allows all (unset), none ("") or some ("a,b"). Of two
    plugins with one name the first by its target is used, and a warning names both.
    """
    allowed = os.environ.get("FORENSICS_PLUGINS")
    names = None if allowed is None else {name.strip() for name in allowed.split(",")}
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entry_points(group=group), key=lambda e: (e.name, e.value)):
        if names is not None and entry.name not in names:
            continue
        first = found.setdefault(entry.name, entry)
        if first.value != entry.value:
            warnings.warn(
                f"two {group} plugins are named {entry.name!r}: {origin(first)} is used, "
                f"{origin(entry)} is not. Uninstall one of them.",
                stacklevel=2,
            )
    return found


def load(group: str, name: str) -> object:
    """Import one plugin by name and return what it offers; no other plugin is imported.

    Raises:
        PluginError: there is no such plugin, its import fails, or it has another `api_version`.
    """
    found = discover(group)
    if name not in found:
        raise PluginError(f"no {group} plugin {name!r}; installed: {', '.join(found) or 'none'}.")
    try:
        plugin: object = found[name].load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"plugin {name!r} of {origin(found[name])} fails: {error!r}") from error
    version = getattr(plugin, "api_version", API_VERSION)
    if version != API_VERSION:
        raise PluginError(
            f"plugin {name!r} of {origin(found[name])} has API {version}; {API_VERSION} is needed."
        )
    return plugin


def origin(entry: EntryPoint) -> str:
    """Return distribution, version and target of a plugin, to put a name to a failure."""
    made_by = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
    return f"{made_by} ({entry.value})"


# --- to here --------------------------------------------------------------------------------------

if TYPE_CHECKING:
    from torch import nn

    from ansm_plugin.defended import DefendedLocalizer

DEFENSES = "forensics.defenses"
MODELS = "forensics.models"
GROUPS = (DEFENSES, MODELS, "imdlbenco.plugins", "forensichub.plugins", "ansm_plugin.localizers")


@dataclass(frozen=True, kw_only=True)
class Defense:
    """What a host toolkit may know of a defence before it imports torch.

    Attributes:
        name: key by which users choose it.
        summary: one line for a menu.
        api_version: changes when a field or a method changes its meaning.
        input_range: of the images that `build` takes and returns.
        channels: of these images, RGB.
        max_linf: the largest change of a pixel by default, in units of `input_range`.
        tasks: what the defended models do.
    """

    name: str
    summary: str
    api_version: int = API_VERSION
    input_range: tuple[float, float] = (0.0, 1.0)
    channels: int = 3
    max_linf: float = 16 / 255
    tasks: tuple[str, ...] = ("localization",)

    def build(
        self, weights: str | None = None, *, preset: str | None = None
    ) -> DefendedLocalizer[nn.Identity]:
        """Return a module that suppresses adversarial noise in images.

        Shape: `(B, 3, H, W)` in [0, 1] -> the same. Without `weights` it changes nothing.

        Raises:
            AnsmError: the weights or the preset cannot be used.
        """
        from torch import nn

        from ansm_plugin.defended import DefendedLocalizer
        from ansm_plugin.localizer import LocalizerSpec

        pixels = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
        return DefendedLocalizer(nn.Identity(), _ansm(weights, preset), pixels).eval()

    def wrap(self, model: nn.Module, weights: str | None = None, **options: Any) -> nn.Module:
        """Return `wrap_with_ansm(model, weights, **options)`."""
        from ansm_plugin.defended import wrap_with_ansm

        return wrap_with_ansm(model, weights, **options)


DEFENSE = Defense(name="ansm", summary="learned suppression of adversarial noise, at most 16/255")


def create(base: str, *, weights: str | None = None, preset: str | None = None) -> nn.Module:
    """Return a defended localizer by the name of its localizer.

    Args:
        base: as on the command line: `smp:Unet?encoder_name=resnet18@weights.safetensors`.
        weights: of the ANSM, written by `save_ansm`; None gives an untrained one.
        preset: of an untrained ANSM.

    Raises:
        AnsmError: a name or a file cannot be used.
    """
    from ansm_plugin.backbones.reference import build_localizer
    from ansm_plugin.defended import wrap_with_ansm

    return wrap_with_ansm(build_localizer(base), weights, ansm=preset)


def _ansm(weights: str | None, preset: str | None) -> nn.Module:
    from ansm_plugin.ansm import ANSM, DEFAULT_PRESET
    from ansm_plugin.weights import load_ansm

    return ANSM(preset or DEFAULT_PRESET) if weights is None else load_ansm(weights, into=preset)
