"""`ansm info`: what a safetensors file holds and where it comes from."""

from __future__ import annotations

import json as json_format
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansm_plugin.commands.groups import json_option
from ansm_plugin.commands.options import positional
from ansm_plugin.commands.values import path
from ansm_plugin.errors import WeightsError
from ansm_plugin.system.files import write_json
from ansm_plugin.system.text import one_line


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Which file is told about."""

    file: Path = positional(parse=path, help="a safetensors file")
    json: Path | None = json_option()


OPTIONS = InfoOptions


def run(options: InfoOptions) -> None:
    """Print what is known of a file; also as JSON where asked.

    Raises:
        WeightsError: a pickle, a truncated or foreign file, or a newer format.
    """
    from ansm_plugin.commands.facts import describe_file

    facts = describe_file(options.file)
    try:
        print("\n".join(_lines(facts)))
        if options.json is not None:
            # NaN in foreign metadata has no form in JSON but its name.
            text = json_format.dumps(facts, default=str)
            write_json(options.json, json_format.loads(text, parse_constant=str))
    except RecursionError as error:
        raise WeightsError(
            f"the metadata of {options.file} is nested beyond all measure."
        ) from error


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
