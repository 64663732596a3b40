"""The command line `ansm`: which command, with which options, and how it ends.

Nothing heavy is imported before a command is chosen, so that `ansm --help` answers at once.

Exit codes: 0 done; 2 the user's mistake, with one message on stderr; 130 interrupted; 1 ours.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from ansm_plugin.errors import AnsmError, ConfigError, TrainingInterrupted, unknown_name
from ansm_plugin.options import COMMANDS, Parser

# Their results say how they were made.
_RECORDED = ("demo", "evaluate", "attack")


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
    if not name.startswith("-") and name not in COMMANDS:
        raise ConfigError(unknown_name("command", name, COMMANDS))
    if name == "train":  # its options come from the recipe's config, so it reads them itself
        _module(name).run(arguments[1:])
        return
    options = vars(_parser().parse_args(arguments or ["--help"]))
    if name in _RECORDED:
        options["command_line"] = shlex.join(["ansm", *arguments])
    _module(options.pop("command")).run(**options)


def _module(command: str) -> Any:
    return importlib.import_module(f"ansm_plugin.commands.{command}")


def _parser() -> Parser:
    parser = Parser(
        prog="ansm",
        description="Defend a forgery localizer against adversarial noise.",
        epilog="`ansm COMMAND --help` shows the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ansm {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (summary, add_options) in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        add_options(command)
    return parser


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
