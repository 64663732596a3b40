"""`ansm plugins`: which forensics plugins are installed, and whether they load."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

from ansm_plugin.commands.groups import json_option
from ansm_plugin.commands.options import flag
from ansm_plugin.errors import ConfigError
from ansm_plugin.offer import GROUPS
from ansm_plugin.plugins import PluginError, discover, load, origin
from ansm_plugin.system.files import write_json


@dataclass(frozen=True, kw_only=True)
class PluginsOptions:
    """Whether they are loaded, and where the list goes."""

    check: bool = flag(help="load each of them too")
    json: Path | None = json_option()


OPTIONS = PluginsOptions


class Plugin(NamedTuple):
    """One installed plugin; `state` is "" unless it was loaded."""

    group: str
    name: str
    origin: str
    state: str


def run(options: PluginsOptions) -> None:
    """Print the plugins of all groups; with --check, load each of them.

    Raises:
        ConfigError: plugins that do not load, after all others were tried.
    """
    plugins = list(installed(check=options.check))
    print("\n".join(_line(plugin) for plugin in plugins) or "no plugin is installed")
    if options.json is not None:
        write_json(options.json, [p._asdict() for p in plugins])
    broken = [plugin for plugin in plugins if plugin.state not in ("", "loads")]
    if broken:
        culprits = ", ".join(f"{p.name} of {p.origin}" for p in broken)
        raise ConfigError(f"{len(broken)} of {len(plugins)} plugins do not load: {culprits}.")


def installed(*, check: bool) -> Iterator[Plugin]:
    """Yield every plugin of the groups that we know."""
    for group in GROUPS:
        for name, entry in discover(group).items():
            yield Plugin(group, name, origin(entry), _state(group, entry) if check else "")


def _state(group: str, entry: EntryPoint) -> str:
    try:
        load(group, entry.name)
    except PluginError as error:
        return str(error)
    return "loads"


def _line(plugin: Plugin) -> str:
    return f"{plugin.group:<24} {plugin.name:<12} {plugin.origin}  {plugin.state}".rstrip()
