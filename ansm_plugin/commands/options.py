"""The options of each command, for argparse; imports nothing heavy, so help answers at once."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

Parser = argparse.ArgumentParser
_TILE_HELP = (
    "longest side in pixels that is worked on at once; larger photographs are cut into "
    "overlapping tiles (default: 1024); memory stays below 16 bytes per pixel of the photograph "
    "and, with the embedded localizer, 0.8 GB for a tile of 1024 pixels"
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
    _ansm_precision_option(parser)
    parser.add_argument("--bare", action="store_true", help="use no defence")
    _gate_option(parser)
    parser.add_argument(
        "--abstain",
        type=float,
        nargs="?",
        const=0.0,
        metavar="THRESHOLD",
        help="call a photograph undecided whose attack score is above this (default: 0, where 1 in "
        "100 images without attack is); give it behind the photographs",
    )
    parser.add_argument("--tile", type=int, default=1024, metavar="PIXELS", help=_TILE_HELP)
    _json_option(parser)


def _gate_option(parser: Parser) -> None:
    parser.add_argument(
        "--gate",
        action="store_true",
        help="keep the bare localizer's mask where the attack score says that nothing is wrong "
        "(needs an ANSM that was calibrated)",
    )


def _evaluate_options(parser: Parser) -> None:
    _model_options(parser)
    _gate_option(parser)
    _image_options(parser)
    _attack_choice(parser, attacks=("pgd", "mifgsm", "cospgd"))
    parser.add_argument(
        "--threat",
        type=_names,
        metavar="T0,...,T6",
        help="what attackers know (default: T0,T1,T2,T4,T5; T3 with --surrogate)",
    )
    parser.add_argument(
        "--white-box-attacks",
        type=_names,
        metavar="NAMES",
        help="of T4; the first at every radius, others at the largest (default: margin,pgd)",
    )
    parser.add_argument(
        "--white-box-steps", type=_natural, metavar="N", help="of T4 (default: 20; 0: no T4)"
    )
    parser.add_argument(
        "--adaptive",
        type=_names,
        metavar="NAMES",
        help="more of T4: straight-through, unsaturated, bypass, warm-start, eot "
        "(default: all but eot)",
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16"),
        help="of attacks (default: bf16, half the time at the same loss of F1)",
    )
    _ansm_precision_option(parser)
    parser.add_argument(
        "--tile",
        type=int,
        default=1024,
        metavar="PIXELS",
        help="longest side in pixels that is attacked and scored at once; larger images are cut "
        "into overlapping tiles, each attacked as an image of its own (default: 1024)",
    )
    parser.add_argument(
        "--surrogate",
        action="append",
        default=[],
        metavar="NAME[+ANSM]",
        help="what T3 attacks in place of your localizer: another one, one with an ANSM, or "
        "`encoder` for your own without its decoder; repeat for several",
    )
    parser.add_argument(
        "--baselines",
        type=_names,
        metavar="NAMES",
        help="other defences: cheap, none, or names (default: cheap, all without training)",
    )
    parser.add_argument(
        "--cost-size",
        type=_positive,
        metavar="PIXELS",
        help="side of the square whose cost is measured (default: the size of the first images)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of random starts (default: 0)")
    parser.add_argument(
        "--quick", action="store_true", help="16 images, T0, T1, T4, JPEG alone as baseline, bf16"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="receives report.html, its JSON and pictures"
    )
    parser.add_argument("--force", action="store_true", help="replace a finished report")
    _json_option(parser)


def _info_options(parser: Parser) -> None:
    parser.add_argument("file", type=Path, help="a safetensors file")
    _json_option(parser)


def _convert_options(parser: Parser) -> None:
    parser.add_argument("source", type=Path, metavar="FILE.pth", help="never executed")
    parser.add_argument("target", type=Path, metavar="FILE.safetensors")
    parser.add_argument("--force", action="store_true", help="replace an existing target")


def _plugins_options(parser: Parser) -> None:
    parser.add_argument("--check", action="store_true", help="load each of them too")
    _json_option(parser)


def _export_options(parser: Parser) -> None:
    _model_options(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.onnx")
    parser.add_argument(
        "--size",
        type=_positive,
        metavar="PIXELS",
        help="fix height and width (default: free where the localizer allows it)",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _image_options(parser: Parser) -> None:
    parser.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="forged images with --masks; alone, photographs that forgeries are made of, or the "
        "dataset.json of `ansm attack`",
    )
    parser.add_argument("--masks", type=Path, metavar="DIR", help="masks with the same stems")
    parser.add_argument(
        "--pattern", default="*", help="only images whose file name matches (default: *)"
    )
    parser.add_argument("--count", type=_positive, metavar="N", help="at most this many images")


def _attack_choice(parser: Parser, *, attacks: tuple[str, ...]) -> None:
    parser.add_argument(
        "--attacks",
        type=_names,
        default=attacks,
        metavar="NAMES",
        help=f"separated by commas (default: {','.join(attacks)})",
    )
    parser.add_argument(
        "--eps",
        type=_numbers,
        default=(2.0, 4.0, 8.0),
        metavar="LEVELS",
        help="in grey levels of 255, separated by commas (default: 2,4,8)",
    )
    parser.add_argument("--steps", type=_positive, default=10, help="of each attack (default: 10)")


def _localizer_option(parser: Parser) -> None:
    parser.add_argument(
        "--localizer",
        metavar="NAME",
        help="reference name, smp:..., timm:... or module:function, each with optional "
        "@weights.safetensors and @adapter.safetensors (default: the embedded one)",
    )


def _model_options(parser: Parser) -> None:
    _localizer_option(parser)
    parser.add_argument("--ansm", type=Path, metavar="FILE", help="weights written by `ansm train`")


def _ansm_precision_option(parser: Parser) -> None:
    parser.add_argument(
        "--ansm-precision",
        choices=("fp32", "bf16"),
        default="fp32",
        help="of the convolutions inside the ANSM (default: fp32); bf16 halves its time on "
        "processors that have it, and changes F1 by less than 0.001",
    )


def _json_option(parser: Parser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers there too")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _natural(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _names(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas: 2,4,8") from error


def _attack_options(parser: Parser) -> None:
    _localizer_option(parser)
    _image_options(parser)
    _attack_choice(parser, attacks=("mifgsm",))
    parser.add_argument("--seed", type=int, default=0, help="of random starts (default: 0)")
    parser.add_argument(
        "--output", type=Path, required=True, metavar="DIR", help="receives Tp/, Gt/ and lists"
    )
    parser.add_argument("--force", action="store_true", help="write into a folder in use")
    _json_option(parser)


def _calibrate_options(parser: Parser) -> None:
    _model_options(parser)
    _image_options(parser)
    parser.add_argument(
        "--size", type=_positive, default=64, metavar="PIXELS", help="of the crops (default: 64)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of crops and attacks (default: 0)")
    parser.add_argument(
        "--output",
        type=Path,
        required=True,
        metavar="FILE.safetensors",
        help="receives a copy of the ANSM with its attack score; may be the file of --ansm",
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file")


COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "demo": ("attack and defend the embedded localizer, and show it", _demo_options),
    "localize": ("find the tampered region of photographs", _localize_options),
    "train": ("train a localizer or its ANSM: `ansm train --help`", lambda parser: None),
    "evaluate": ("measure a localizer with and without its ANSM", _evaluate_options),
    "attack": ("write attacked images and their masks as a dataset", _attack_options),
    "calibrate": ("fit the attack score of an ANSM on images", _calibrate_options),
    "info": ("say what a weights file holds", _info_options),
    "export": ("write a defended localizer as one ONNX graph", _export_options),
    "convert": ("turn a .pth checkpoint into safetensors", _convert_options),
    "plugins": ("list the installed forensics plugins", _plugins_options),
}
