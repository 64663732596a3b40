"""Things of the user's own code by their names, as they are written on a command line."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from ansm_plugin.plugins import PluginError


def import_object(target: str) -> object:
    """Return what "module:name" names; modules of the current folder are found too.

    Raises:
        PluginError: no such module, its import fails, or it has no such name.
    """
    module, _, name = target.partition(":")
    if not module or not name:
        raise PluginError(f"{target!r} names nothing in a module; write module:name.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        found: object = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise PluginError(f"{target!r} cannot be imported: {error}.") from error
    return found
