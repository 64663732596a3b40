"""The `--localizer` that fits a file of weights, so that the next command can be pasted."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansm_plugin.backbones.recognised import recognise
from ansm_plugin.localizer.families import family_names
from ansm_plugin.system.paths import user_path
from ansm_plugin.system.text import harmless
from ansm_plugin.weights import catalogue
from ansm_plugin.weights.names import unwrapped
from ansm_plugin.weights.tensors import read_metadata, tensor_shapes

_GUESS = "a guess: every name and shape fits; how its input is normalised, weights do not say"
_UNKNOWN = "its names and shapes fit none that is known; name it: family:query or module:function"


def for_ansm(
    file: Path, provenance: Mapping[str, Any], recipe: Mapping[str, Any]
) -> dict[str, str]:
    """Return the options that fit an ANSM, how they are known, and what of them is not here.

    Args:
        file: of the ANSM.
        provenance: of the localizer, as the file has it: family, class, sha256.
        recipe: as the file has it.
    """
    told = recipe.get("localizer")
    name, known = told if isinstance(told, str) else "", "its recipe"
    if (not name or _absent(name)) and (listed := _listed(provenance)) is not None:
        name, known = listed, "the state of its localizer"
    if not name:
        kind = " ".join(str(provenance.get(key) or "?") for key in ("family", "class"))
        return {"localizer": f"not recorded; it was trained for: {kind}"}
    return _options(name, known) | {"ansm": f"--ansm {_quoted(str(file))}"}


def for_adapter(file: Path, recipe: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that fit an adapter, which stands behind what it was trained on."""
    name = recipe.get("localizer")
    if not isinstance(name, str) or not name:
        return {"localizer": f"not recorded; write NAME@weights.safetensors@{file}"}
    return _options(f"{name}@{file}", "its recipe")


def for_localizer(file: Path, name: str = "") -> dict[str, str]:
    """Return the options that fit a localizer's weights.

    Args:
        file: of the weights.
        name: of the localizer where it is known without the file; "" asks the file.
    """
    name, known = name or read_metadata(file).get("name", ""), "its file"
    if not name:
        name, known = recognise(unwrapped(tensor_shapes(file))) or "", _GUESS
    return _options(f"{name.partition('@')[0]}@{file}", known) if name else {"localizer": _UNKNOWN}


def _options(name: str, known: str) -> dict[str, str]:
    """Return the option, unless pasting it would run a module that a file from elsewhere names."""
    base = name.partition("@")[0]
    kind = base.partition(":")[0]
    is_known = catalogue.find(base) is not None or catalogue.not_installed(base) != ""
    if not is_known and kind not in set(family_names()) - {"plain"}:
        return {"localizer": f"built by code of its author's, {harmless(base)}: see who that is"}
    said = {"localizer": f"--localizer {_quoted(name)}", "known from": known}
    absent = _absent(name)
    return said | ({"not here": ", ".join(absent)} if absent else {})


def _absent(name: str) -> list[str]:
    """Return what a name needs and is not here: weights of the catalogue, files."""
    base, *files = name.split("@")
    lacking = "" if catalogue.find(base) else catalogue.not_installed(base)
    return [*filter(None, [lacking]), *(path for path in files if not _is_here(path))]


def _is_here(path: str) -> bool:
    """Return whether there is such a file; a text that names none, however odd, is not here."""
    try:
        return user_path(path).is_file()
    except (OSError, RuntimeError, ValueError):
        return False


def _quoted(text: str) -> str:
    return shlex.quote(harmless(text, kept=""))


def _listed(provenance: Mapping[str, Any]) -> str | None:
    """Return the localizer of the catalogue whose state an ANSM was trained for, or None."""
    state = str(provenance.get("sha256") or "")
    known = catalogue.catalogue().items() if state else ()
    states = ((name, read_metadata(listed.weights).get("sha256")) for name, listed in known)
    return next((name for name, own in states if own == state), None)
