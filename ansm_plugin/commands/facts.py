"""What a weights file says of itself: its kind, its size and where it comes from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ansm_plugin.commands.next_command import for_adapter, for_ansm, for_localizer
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.adapters import FORMAT as ADAPTER
from ansm_plugin.weights.ansm_file import FORMAT, load_ansm
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import read_metadata, sha256_of, tensor_shapes

_USE = "use"  # the options that fit, for the next command


def describe_file(file: Path) -> dict[str, Any]:
    """Return the facts of an ANSM's or a localizer's weights.

    Raises:
        WeightsError: a pickle, a truncated or foreign file, or a newer format.
    """
    metadata = read_metadata(file)
    kind = metadata.get("format", "")
    common = {"file": str(file), "sha256": sha256_of(file), **_sizes(file)}
    if kind == FORMAT:
        return {"kind": "ANSM", **common, **_ansm_facts(file)}
    if kind == ADAPTER:
        facts = {
            k: read_json(metadata, k, file) for k in ("localizer", "tuned", "parent", "recipe")
        }
        use = for_adapter(file, _table(facts["recipe"]))
        return {"kind": "adapter", **common, **facts, _USE: use}
    rest = {k: v for k, v in metadata.items() if k != "format"}
    if kind not in ("localizer", ""):
        return {"kind": f"unknown format {one_line(kind)!r}", **common, **rest}
    return {"kind": "localizer", **common, **rest, _USE: for_localizer(file)}


def _ansm_facts(file: Path) -> dict[str, Any]:
    facts: dict[str, Any] = {"untrained": load_ansm(file).is_identity}
    metadata = read_metadata(file)
    facts["stage"] = metadata.get("stage", "")
    keys = ("architecture", "localizer", "normalisation", "metrics", "parent", "recipe")
    for key in (*keys, "attack_score"):
        facts[key] = read_json({key: metadata.get(key, '""')}, key, file)
    facts["format_version"] = metadata["format_version"]
    use = for_ansm(file, _table(facts["localizer"]), _table(facts["recipe"]))
    return {**facts, _USE: use}


def _table(value: Any) -> dict[str, Any]:
    """Return a table of the metadata, which may hold anything in its place."""
    return value if isinstance(value, dict) else {}


def _sizes(file: Path) -> dict[str, int]:
    shapes = tensor_shapes(file).values()
    return {"tensors": len(shapes), "parameters": sum(math.prod(shape) for shape in shapes)}
