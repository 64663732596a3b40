"""The command line `ansm`: which command, with which options, and how it ends.

Nothing heavy is imported before a command is chosen, so that `ansm --help` answers at once.

Exit codes: 0 done; 2 the user's mistake, with one message on stderr; 130 interrupted; 1 ours.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from ansm_plugin.errors import AnsmError, ConfigError, TrainingInterrupted, unknown_name

Parser = argparse.ArgumentParser

_TILE_HELP = (
    "longest side in pixels that is worked on at once; larger photographs are cut into "
    "overlapping tiles (default: 1024)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with _one_line_warnings():
        try:
            _dispatch(arguments)
        except SystemExit as stop:  # argparse and tyro have said what is wrong
            return stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 2
        except (KeyboardInterrupt, TrainingInterrupted) as stop:
            return _fail(str(stop) or "interrupted; nothing was left half-written.", 130)
        except BrokenPipeError:  # the reader of our output has gone: `ansm info FILE | head`
            _silence_stdout()
            return 0
        except (AnsmError, OSError) as error:
            return _fail(str(error), 2)
        except Exception:
            traceback.print_exc()
            return _fail("this is a mistake in ansm_plugin; please report the lines above.", 1)
    return 0


def _dispatch(arguments: list[str]) -> None:
    name = arguments[0] if arguments else "--help"
    if not name.startswith("-") and name not in _COMMANDS:
        raise ConfigError(unknown_name("command", name, _COMMANDS))
    if name == "train":  # its options come from the recipe's config, so it reads them itself
        _module(name).run(arguments[1:])
        return
    options = vars(_parser().parse_args(arguments or ["--help"]))
    if name in ("demo", "evaluate"):  # their results say how they were made
        options["command_line"] = shlex.join(["ansm", *arguments])
    _module(options.pop("command")).run(**options)


def _module(command: str) -> Any:
    return importlib.import_module(f"ansm_plugin.commands.{command}")


# --- the options of each command ----------------------------------------------------------------


def _parser() -> Parser:
    parser = Parser(
        prog="ansm",
        description="Defend a forgery localizer against adversarial noise.",
        epilog="`ansm COMMAND --help` shows the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ansm {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, add_options) in _COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add_options(command)
    return parser


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


_COMMANDS: dict[str, tuple[str, Callable[[Parser], None]]] = {
    "demo": ("attack and defend the embedded localizer, and show it", _demo_options),
    "localize": ("find the tampered region of photographs", _localize_options),
    "train": ("train a localizer or its ANSM: `ansm train --help`", lambda parser: None),
    "evaluate": ("measure a localizer with and without its ANSM", _evaluate_options),
    "info": ("say what a weights file holds", _info_options),
    "convert": ("turn a .pth checkpoint into safetensors", _convert_options),
}


# --- how it ends --------------------------------------------------------------------------------


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _silence_stdout() -> None:
    # Else the interpreter's last flush fails with the same error, past all handlers.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _version() -> str:
    try:
        return version("ansm_plugin")
    except PackageNotFoundError:
        return "(not installed)"


@contextlib.contextmanager
def _one_line_warnings() -> Iterator[None]:
    """Print our own warnings as one line without source code; others as Python does."""
    with warnings.catch_warnings():
        as_python_does = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if Path(filename).is_relative_to(Path(__file__).parent):
                print(f"warning: {message}", file=sys.stderr)
            else:
                as_python_does(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.filterwarnings("always", category=UserWarning, module="ansm_plugin")
        yield
