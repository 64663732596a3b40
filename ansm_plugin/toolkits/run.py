"""Run a host toolkit's own script, unchanged, with defended models registered.

torchrun --standalone --nproc_per_node=1 -m ansm_plugin.toolkits.run ./test.py --model ANSM_X ...

A script inside a host's package is named `HOST:NAME`, such as `ForensicHub:test`.
"""

from __future__ import annotations

import runpy
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from ansm_plugin.errors import AnsmError, ConfigError
from ansm_plugin.toolkits import forensichub, imdlbenco

_HOSTS: dict[str, Callable[[], list[str]]] = {
    "IMDLBenCo": imdlbenco.register,
    "ForensicHub": forensichub.register,
}


def register_all() -> list[str]:
    """Register with every host that is installed, and return the names of the defended models.

    Raises:
        ConfigError: no host is installed, or none of them can be used.
    """
    installed = [name for name in _HOSTS if find_spec(name) is not None]
    if not installed:
        raise ConfigError(
            f"none of {', '.join(_HOSTS)} is installed; pip install 'ansm_plugin[imdlbenco]'."
        )
    models, failures = [], []
    for name in installed:
        try:
            models += _HOSTS[name]()
        except ConfigError as error:
            failures.append(str(error))
    if len(failures) == len(installed):
        raise ConfigError(" ".join(failures))
    for failure in failures:  # the other host goes on
        warnings.warn(failure, stacklevel=2)
    return models


def main(arguments: Sequence[str]) -> int:
    """Run a script as `python SCRIPT ...` would; return 2 after a mistake of the user."""
    try:
        _run(list(arguments))
    except AnsmError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: list[str]) -> None:
    script = find_script(arguments[0] if arguments else "")
    register_all()
    sys.argv = [str(script), *arguments[1:]]
    sys.path.insert(0, str(script.parent.resolve()))  # as Python does for a script
    runpy.run_path(str(script), run_name="__main__")


def find_script(named: str) -> Path:
    """Return the file of a script: a path, or `HOST:NAME`, found without importing the host.

    Raises:
        ConfigError: there is none.
    """
    host, _, name = named.partition(":")
    if host in _HOSTS and name:
        found = find_spec(host)
        folders = [] if found is None else found.submodule_search_locations or []
        scripts = [Path(folder) / "training_scripts" / f"{name}.py" for folder in folders]
        if not scripts:
            raise ConfigError(f"{host} is not installed, so there is no {named}: see HOSTS.md.")
    else:
        scripts = [Path(named)] if named else []
    present = [script for script in scripts if script.is_file()]
    if not present:
        raise ConfigError(
            f"there is no script {scripts[0] if scripts else ''}; usage: torchrun --standalone "
            "--nproc_per_node=1 -m ansm_plugin.toolkits.run ./test.py --model ANSM_X ... or "
            "ForensicHub:test --config x.yaml."
        )
    return present[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
