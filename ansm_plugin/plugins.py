"""Plugins by entry point: how a host toolkit finds them.

This module needs the standard library alone, so that a host toolkit can copy the file as it is
instead of depending on us.
"""

from __future__ import annotations

import os
import warnings
from importlib.metadata import EntryPoint, entry_points

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
