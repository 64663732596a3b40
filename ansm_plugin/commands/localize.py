"""`ansm localize`: mask and overlay of the user's photographs."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import ModelOptions, gate_option, json_option, precision_option
from ansm_plugin.commands.options import REQUIRED, flag, group, option, positional
from ansm_plugin.commands.values import finite, path
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.system.files import make_folder, write_json
from ansm_plugin.system.text import one_line, say

if TYPE_CHECKING:
    from torch import nn

    from ansm_plugin.ansm import Precision
    from ansm_plugin.localizer.spec import LocalizerSpec


@dataclass(frozen=True, kw_only=True)
class LocalizeOptions:
    """Which photographs, with which localizer and defence; `tile` None is `data.tiles.TILE`."""

    photos: tuple[Path, ...] = positional(
        parse=path, metavar="PHOTO", help="a photograph, or a folder of them", several=True
    )
    output: Path = option(
        REQUIRED, parse=path, metavar="DIR", help="receives STEM-mask.png and STEM-overlay.png"
    )
    model: ModelOptions = group(ModelOptions)
    ansm_precision: Precision = precision_option()
    recursive: bool = flag(help="enter the folders in a folder; results lie in folders as these do")
    bare: bool = flag(help="use no defence")
    gate: bool = gate_option()
    abstain: float | None = option(
        None,
        parse=finite,
        alone=0.0,
        metavar="THRESHOLD",
        help="call a photograph undecided whose attack score is above this (default: {alone}, "
        "where 1 in 100 images without attack is); write --abstain=0.5, for a word behind it is a "
        "photograph unless it is a number",
    )
    tile: int | None = option(
        None,
        parse=int,
        metavar="PIXELS",
        help="longest side in pixels that is worked on at once; larger photographs are cut into "
        "overlapping tiles (default: 1024); memory stays below 16 bytes per pixel of the "
        "photograph and, with the embedded localizer, 0.8 GB for a tile of 1024 pixels",
    )
    json: Path | None = json_option()


OPTIONS = LocalizeOptions


def run(options: LocalizeOptions) -> None:
    """Localize each photograph; one that fails does not lose the others, one left out is named.

    Raises:
        AnsmError: nothing can be done at all, or some photographs failed (they are named).
    """
    from ansm_plugin.commands.photographs import (
        expand,
        localize_each,
        localizing,
        require_separate_outputs,
    )

    tile = _tile(options)
    photos = expand(options.photos, recursive=options.recursive, output=options.output)
    require_separate_outputs(photos.used, options.output)
    model, spec = _model(options)
    localize = localizing(model, spec, tile, gate=options.gate, abstain=options.abstain)
    make_folder(options.output)
    found, failures = localize_each(photos.used, options.output, localize)
    if options.json is not None:
        left_out = [*photos.left_out, *failures]
        numbers = {"photographs": [f._asdict() for f in found], "left_out": left_out}
        say(f"wrote {write_json(options.json, numbers)}")
    for line in photos.said:  # last, where it is seen
        warnings.warn(line, stacklevel=2)
    if failures:
        lines = [f"{one_line(entry['file'])}: {entry['reason']}" for entry in failures]
        raise ImageError(
            f"{len(lines)} of {len(photos.used)} photographs failed:\n  " + "\n  ".join(lines)
        )


def _tile(options: LocalizeOptions) -> int:
    """Return the longest side of a tile; refuse options that exclude one another."""
    from ansm_plugin.data.tiles import OVERLAP, TILE

    if options.bare and (options.gate or options.abstain is not None):
        raise ConfigError("--bare has no attack score; leave out --gate and --abstain.")
    tile = TILE if options.tile is None else options.tile
    if tile < 2 * OVERLAP:
        raise ConfigError(f"--tile is {tile}; it must be {2 * OVERLAP} or more.")
    return tile


def _model(options: LocalizeOptions) -> tuple[nn.Module, LocalizerSpec]:
    """Return the defended localizer, or the bare one where that is asked for."""
    from ansm_plugin.commands.models import load_defended, load_localizer, warn_if_untrained
    from ansm_plugin.localizer.families import describe

    localizer, ansm = options.model.localizer, options.model.ansm
    if options.bare and ansm is not None:
        raise ConfigError("--bare and --ansm were both given; choose one.")
    if options.bare and options.ansm_precision != "fp32":
        raise ConfigError("--bare and --ansm-precision were both given; choose one.")
    if not options.bare:
        defended = load_defended(localizer, ansm, precision=options.ansm_precision)
        warn_if_untrained(defended.ansm)
        return defended, defended.spec
    print("bare localizer: no defence against adversarial noise is used")
    model = load_localizer(localizer)
    return model, describe(model)
