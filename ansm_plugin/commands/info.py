"""`ansm info`: what a safetensors file holds and where it comes from."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.files import write_json
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.adapters import FORMAT as ADAPTER
from ansm_plugin.weights.ansm_file import FORMAT, load_ansm, read_ansm_metadata
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import read_metadata, sha256_of


def run(*, file: Path, json: Path | None) -> None:
    """Print what is known of `file`; also as JSON where asked."""
    facts = describe_file(file)
    try:
        print("\n".join(_lines(facts)))
        if json is not None:
            # NaN in foreign metadata has no form in JSON but its name.
            text = json_format.dumps(facts, default=str)
            write_json(json, json_format.loads(text, parse_constant=str))
    except RecursionError as error:
        raise WeightsError(f"the metadata of {file} is nested beyond all measure.") from error


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
        return {"kind": "adapter", **common, **facts}
    known = "localizer" if kind in ("localizer", "") else f"unknown format {one_line(kind)!r}"
    return {"kind": known, **common, **{k: v for k, v in metadata.items() if k != "format"}}


def _ansm_facts(file: Path) -> dict[str, Any]:
    metadata = read_ansm_metadata(file)
    facts: dict[str, Any] = {"untrained": load_ansm(file).is_identity}
    facts["stage"] = metadata.get("stage", "")
    keys = ("architecture", "localizer", "normalisation", "metrics", "parent", "recipe")
    for key in (*keys, "attack_score"):
        facts[key] = read_json({key: metadata.get(key, '""')}, key, file)
    return {**facts, "format_version": metadata["format_version"]}


def _sizes(file: Path) -> dict[str, int]:
    with safe_open(str(file), framework="pt") as handle:
        shapes = [handle.get_slice(name).get_shape() for name in handle.keys()]  # noqa: SIM118
    return {"tensors": len(shapes), "parameters": sum(math.prod(shape) for shape in shapes)}


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Return "name  value" lines, nested tables indented."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{one_line(key)}", *_lines(value, indent + "  ")]
        elif value not in ("", None, {}):
            lines.append(f"{indent}{one_line(key):<16} {_text(value)}")
    return lines


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return one_line(", ".join(map(_text, value)))
    return (
        f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else one_line(value)
    )
