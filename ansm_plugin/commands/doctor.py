"""`ansm doctor`: one page about a localizer, and what that rests on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ansm_plugin.commands.fact_options import FactOptions
from ansm_plugin.commands.groups import device_option, json_option
from ansm_plugin.commands.options import group, positional
from ansm_plugin.commands.values import filled
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.text import say


@dataclass(frozen=True, kw_only=True)
class DoctorOptions:
    """Which localizer is looked at, and what is known of it already."""

    model: str = positional(
        parse=filled,
        metavar="MODEL",
        help="a localizer, as --localizer of other commands names it",
    )
    said: FactOptions = group(FactOptions)
    json: Path | None = json_option()
    device: str = device_option()


OPTIONS = DoctorOptions


def run(options: DoctorOptions) -> None:
    """Build the localizer, look at it, and print what is known; also as JSON where asked.

    Raises:
        AnsmError: there is no such localizer, or a file cannot be written.
    """
    from ansm_plugin.commands.loading import load_localizer
    from ansm_plugin.localizer.explain import explain
    from ansm_plugin.system.device import computing_on

    if options.json is not None:
        make_folder(options.json.parent)
    with computing_on(options.device) as device:
        localizer = load_localizer(options.model).to(device)
        explanation = explain(localizer, facts=options.said.facts)
    say("\n".join(explanation.lines()))
    if options.json is not None:
        table = {"model": options.model, **explanation.to_json()}
        say(f"wrote {write_json(options.json, table)}")
