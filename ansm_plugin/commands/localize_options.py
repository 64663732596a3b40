"""Options of `ansm localize`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ansm_plugin.commands.groups import (
    ModelOptions,
    device_option,
    force_flag,
    gate_option,
    json_option,
    output_option,
    precision_option,
    recursive_flag,
    tile_option,
)
from ansm_plugin.commands.options import flag, group, option, positional, record
from ansm_plugin.commands.values import finite, path

if TYPE_CHECKING:
    from ansm_plugin.ansm import Precision


@dataclass(frozen=True, kw_only=True)
class LocalizeOptions:
    """Which photographs, with which localizer and defence; `tile` None is `data.tiles.TILE`."""

    photos: tuple[Path, ...] = positional(
        parse=path, metavar="PHOTO", help="a photograph, or a folder of them", several=True
    )
    model: ModelOptions = group(ModelOptions)
    ansm_precision: Precision = precision_option()
    gate: bool = gate_option()
    no_attack_score: bool = flag(
        help="do not say how much a photograph looks attacked, which spares the localizer's pass "
        "without the defence (an ANSM that was never calibrated has no such score)"
    )
    bare: bool = flag(help="use no defence")
    recursive: bool = recursive_flag()
    threshold: float = option(
        0.5,
        parse=finite,
        metavar="P",
        help="a pixel is marked where its probability is above this (default: {default})",
    )
    least_score: float | None = option(
        None,
        parse=finite,
        metavar="S",
        help="mark nothing on a photograph whose score is below this: fewer marks on authentic "
        "ones, and fewer forgeries found; `ansm models NAME` says how many of each score how high",
    )
    abstain: float | None = option(
        None,
        parse=finite,
        alone=0.0,
        metavar="THRESHOLD",
        help="call a photograph undecided whose attack score is above this (default: {alone}, "
        "where 1 in 100 images without attack is); write --abstain=0.5, for a word behind it is a "
        "photograph unless it is a number",
    )
    tile: int | None = tile_option(
        "; memory stays below 24 bytes per pixel of one photograph, 40 of many (the next is read "
        "and the last written meanwhile) and, with the embedded localizer, 0.8 GB for a tile of "
        "1024 pixels"
    )
    output: Path = output_option(
        "STEM-mask.png, STEM-overlay.png, STEM-probability.png (16 bit) and the page index.html"
    )
    resume: bool = flag(
        help="keep photographs that an earlier run has finished, where file, model and options are "
        "the same, and do the others"
    )
    force: bool = force_flag()
    no_page: bool = flag(help="write no index.html and no previews for it")
    csv: Path | None = option(
        None, parse=path, metavar="FILE", help="write one line for each photograph there"
    )
    json: Path | None = json_option()
    device: str = device_option()
    command_line: str = record()
