"""`ansm models`: which localizers come with weights, what for, and how good they are."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansm_plugin.commands.groups import json_option
from ansm_plugin.commands.options import positional
from ansm_plugin.commands.values import filled
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.report.catalogue import card_lines, catalogue_lines
from ansm_plugin.system.files import write_json
from ansm_plugin.system.text import say
from ansm_plugin.weights import catalogue
from ansm_plugin.weights.catalogue import Listed


@dataclass(frozen=True, kw_only=True)
class ModelsOptions:
    """Which one is told about, and where that goes."""

    name: str | None = positional(
        parse=filled,
        metavar="NAME",
        default=None,
        help="tell all of this one: its figures, data, terms and limits",
    )
    json: Path | None = json_option()


OPTIONS = ModelsOptions


def run(options: ModelsOptions) -> None:
    """Print the catalogue, or the card of one name; also as JSON where asked.

    Raises:
        ConfigError: there is no such name (the nearest are offered), or the file cannot be written.
    """
    found = catalogue.catalogue()
    if options.name is None:
        say("\n".join(catalogue_lines(found.values())))
        tables: Any = [_table(listed) for listed in found.values()]
    elif options.name in found:
        say("\n".join(card_lines(found[options.name])))
        tables = _table(found[options.name])
    else:
        raise ConfigError(_unknown(options.name, found))
    if options.json is not None:
        say(f"wrote {write_json(options.json, tables)}")


def _table(listed: Listed) -> dict[str, Any]:
    """Return a card as JSON holds it, with whole paths of its files."""
    files = {name: getattr(listed, name) for name in ("weights", "ansm", "hardened")}
    paths = {name: None if file is None else str(file) for name, file in files.items()}
    return {**asdict(listed.card), **paths, "bytes": listed.bytes, "origin": listed.origin}


def _unknown(name: str, found: dict[str, Listed]) -> str:
    base = name.partition("@")[0]
    if base != name and base in found:
        return f"{name} is {base} with other weights, which no card tells of; ask for {base}."
    return catalogue.not_installed(name) or unknown_name("model", name, found)
