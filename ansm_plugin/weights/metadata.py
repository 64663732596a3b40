"""What the metadata of a weights file says; it may say anything, so nothing of it is trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansm_plugin.ansm import Architecture
from ansm_plugin.errors import ConfigError, WeightsError

# Well above all that is of use, well below what fills a computer.
_LARGEST = {"unshuffle": 32, "widths": 2048, "blocks": 32, "levels": 8}


def read_json(metadata: Mapping[str, str], key: str, path: str | Path) -> Any:
    """Return an entry of the metadata, an empty table where there is none.

    Raises:
        WeightsError: it is no JSON, or nested beyond all measure.
    """
    try:
        return json.loads(metadata.get(key, "{}"))
    except (ValueError, RecursionError) as error:
        raise WeightsError(
            f"the entry {key!r} of {path} cannot be read ({error}); the file is damaged or was not "
            "written by ansm_plugin."
        ) from error


def read_architecture(metadata: Mapping[str, str], path: str | Path) -> Architecture:
    """Return which ANSM a file holds.

    Raises:
        WeightsError: the entry is missing, damaged, or of a network that no ANSM is.
    """
    try:
        fields: dict[str, Any] = json.loads(metadata["architecture"])
        lists = {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
        found = Architecture(**{**fields, **lists})
        _require_sane(found)
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError, ConfigError) as error:
        raise WeightsError(f"{path} does not say which ANSM it holds: {error}") from error
    return found


def _require_sane(found: Architecture) -> None:
    """Raise ValueError for fields that no ANSM has: a file must not make us build a giant."""
    blocks = (*found.encoder_blocks, *found.decoder_blocks)
    groups = (("unshuffle", (found.unshuffle,)), ("widths", found.widths), ("blocks", blocks))
    for name, numbers in groups:
        limit = _LARGEST[name]
        if not all(type(n) is int and 0 <= n <= limit for n in numbers):
            raise ValueError(f"{name} {numbers} must be whole numbers of at most {limit}")
    if len(found.widths) > _LARGEST["levels"]:
        raise ValueError(f"{len(found.widths)} levels; at most {_LARGEST['levels']}")
    if found.norm not in ("none", "batch") or not math.isfinite(found.bound_255):
        raise ValueError(f"norm {found.norm!r} and bound_255 {found.bound_255!r} are not known")
