"""Adapters: a few parameters of a localizer that were tuned together with its ANSM.

Layout of adapter.safetensors: the tuned parameters whole, under their names in the localizer, and
metadata strings `format`, `format_version`, `localizer`, `tuned`, `recipe`, `parent`; all but the
first two are JSON. `localizer` is what the adapter belongs to, `tuned` what it turns that into,
both as `fingerprint` has them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import load_strictly, read_metadata, read_tensors, write_tensors

FORMAT = "adapter"
FORMAT_VERSION = "1"
L = TypeVar("L", bound=nn.Module)


def save_adapter(
    tuned: nn.Module,
    localizer: nn.Module,
    path: str | Path,
    *,
    recipe: Mapping[str, Any] | None = None,
    parent: str = "",
) -> Path:
    """Write what differs between a tuned copy and its localizer; whole or not at all.

    Args:
        tuned: has the parameters and buffers of `localizer`, some of them with other values.
        localizer: what the adapter will belong to.
        path: the file.
        recipe: the full config that reproduces the run.
        parent: sha256 of the file of the stage before, or "".

    Raises:
        WeightsError: the two have other parameters, or the folder cannot be written.
    """
    before, after = _tensors(localizer), _tensors(tuned)
    if {k: v.shape for k, v in before.items()} != {k: v.shape for k, v in after.items()}:
        raise WeightsError(
            f"the tuned {type(tuned).__name__} has other tensors than the "
            f"{type(localizer).__name__} it comes from; an adapter holds new values, no new layers."
        )
    changed = {k: v for k, v in after.items() if not torch.equal(v.cpu(), before[k].cpu())}
    facts = {
        "localizer": fingerprint(localizer),
        "tuned": fingerprint(tuned),
        "recipe": dict(recipe or {}),
        "parent": parent,
    }
    texts = {key: json.dumps(value, default=str) for key, value in facts.items()}
    return write_tensors(
        changed, path, {"format": FORMAT, "format_version": FORMAT_VERSION, **texts}
    )


def _tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of a module without what is no tensor."""
    return {k: v for k, v in module.state_dict().items() if isinstance(v, Tensor)}


def apply_adapter(localizer: L, path: str | Path) -> L:
    """Return a tuned copy of a localizer; the localizer itself is not touched.

    Raises:
        WeightsError: no adapter, a newer one, one of another localizer, or a damaged one.
    """
    belongs_to = _require_adapter(path)
    given = fingerprint(localizer)
    if belongs_to["localizer"] != given:
        raise WeightsError(
            f"{path} belongs to a localizer with state {one_line(belongs_to['localizer'][:12])}; "
            f"the {type(localizer).__name__} given has state {given[:12]}. Give the weights that "
            "the adapter was trained with, or train an adapter for these."
        )
    tuned = copy.deepcopy(localizer)
    load_strictly(tuned, tuned.state_dict() | read_tensors(path), str(path))
    if fingerprint(tuned) != belongs_to["tuned"]:
        raise WeightsError(f"{path} is damaged: its tensors are not those that were written.")
    return tuned


def is_adapter(path: str | Path) -> bool:
    """Return whether a safetensors file says that it is an adapter.

    Raises:
        WeightsError: the file cannot be read as safetensors.
    """
    return read_metadata(path).get("format") == FORMAT


def _require_adapter(path: str | Path) -> dict[str, str]:
    """Return the fingerprints in an adapter's metadata."""
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        given = one_line(metadata.get("format"), most=40)
        raise WeightsError(
            f"{path} is a safetensors file, but no adapter (format {given!r}, expected "
            f"{FORMAT!r}). Adapters are written by `ansm train hardened --tune ...`."
        )
    if metadata.get("format_version") != FORMAT_VERSION:
        version = one_line(metadata.get("format_version"), most=20)
        raise WeightsError(
            f"{path} is an adapter of format version {version!r}; this release reads "
            f"{FORMAT_VERSION}. Upgrade ansm_plugin."
        )
    return {key: str(read_json(metadata, key, path)) for key in ("localizer", "tuned")}
