"""The options of each command, for argparse; imports nothing heavy, so help answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Parser = argparse.ArgumentParser

_TILE_HELP = (
    "longest side in pixels that is worked on at once; larger photographs are cut into "
    "overlapping tiles (default: 1024)"
)


def _demo_options(parser: Parser) -> None:
    parser.add_argument(
        "--output", type=Path, default=Path("ansm-demo"), metavar="DIR", help="(default: ansm-demo)"
    )
    parser.add_argument(
        "--images", type=_positive, default=96, metavar="N", help="forged crops (default: 96)"
    )
    _json_option(parser)


def _localize_options(parser: Parser) -> None:
    parser.add_argument(
        "photos", type=Path, nargs="+", metavar="PHOTO", help="a photograph, or a folder of them"
    )
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="DIR",
        help="receives STEM-mask.png and STEM-overlay.png",
    )
    _model_options(parser)
    parser.add_argument("--bare", action="store_true", help="use no defence")
    parser.add_argument("--tile", type=int, default=1024, metavar="PIXELS", help=_TILE_HELP)


def _evaluate_options(parser: Parser) -> None:
    _model_options(parser)
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="forged images with --masks; alone, photographs that forgeries are made of",
    )
    parser.add_argument("--masks", type=Path, metavar="DIR", help="masks with the same stems")
    parser.add_argument(
        "--pattern", default="*", help="only images whose file name matches (default: *)"
    )
    parser.add_argument("--count", type=_positive, metavar="N", help="at most this many images")
    parser.add_argument(
        "--attacks",
        type=_names,
        default=("pgd", "mifgsm", "cospgd"),
        metavar="NAMES",
        help="separated by commas (default: pgd,mifgsm,cospgd)",
    )
    parser.add_argument(
        "--eps",
        type=_numbers,
        default=(2.0, 4.0, 8.0),
        metavar="LEVELS",
        help="in grey levels of 255, separated by commas (default: 2,4,8)",
    )
    parser.add_argument("--steps", type=_positive, default=10, help="of each attack (default: 10)")
    parser.add_argument("--output", type=Path, metavar="DIR", help="receives panels and a plot")
    _json_option(parser)


def _info_options(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="a safetensors file")
    _json_option(parser)


def _convert_options(parser: Parser) -> None:
    parser.add_argument("source", type=Path, metavar="FILE.pth", help="never executed")
    parser.add_argument("target", type=Path, metavar="FILE.safetensors")
    parser.add_argument("--force", action="store_true", help="replace an existing target")


def _model_options(parser: Parser) -> None:
    parser.add_argument(
        "--localizer",
        metavar="NAME",
        help="reference name, smp:..., timm:... or module:function, each with optional "
        "@weights.safetensors (default: the embedded one)",
    )
    parser.add_argument("--ansm", type=Path, metavar="FILE", help="weights written by `ansm train`")


def _json_option(parser: Parser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _names(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas: 2,4,8") from error


COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "demo": ("attack and defend the embedded localizer, and show it", _demo_options),
    "localize": ("find the tampered region of photographs", _localize_options),
    "train": ("train a localizer or its ANSM: `ansm train --help`", lambda parser: None),
    "evaluate": ("measure a localizer with and without its ANSM", _evaluate_options),
    "info": ("say what a weights file holds", _info_options),
    "convert": ("turn a .pth checkpoint into safetensors", _convert_options),
}
