"""The command line `ansm`: which command, with which options, and how it ends.

Nothing heavy is imported before a command is chosen, so that `ansm --help` answers at once.

Exit codes: 0 done; 2 the user's mistake, with one message on stderr; 130 interrupted; 1 ours, or
that of other code which was called, named by file and line.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import shlex
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TextIO

from ansm_plugin.commands.options import Parser, add_options, parsed
from ansm_plugin.commands.reading import wants_help
from ansm_plugin.errors import AnsmError, ConfigError, TrainingInterrupted, unknown_name
from ansm_plugin.system.blame import culprit
from ansm_plugin.system.lock import only_run_in
from ansm_plugin.system.text import any_encoding, harmless, one_line

# In the order of the help, which says this of each: none of their modules is imported for it.
COMMANDS = {
    "demo": "attack and defend a packaged localizer, and show it",
    "localize": "find the tampered region of photographs",
    "train": "train a localizer or its ANSM: `ansm train --help`",
    "evaluate": "measure a localizer with and without its ANSM",
    "compare": "set the results of evaluations side by side",
    "attack": "write attacked images and their masks as a dataset",
    "calibrate": "fit the attack score of an ANSM on images",
    "models": "list the localizers that come with weights, by short name",
    "doctor": "say what is known of a localizer, and which commands work on it",
    "info": "say what a weights file holds",
    "export": "write a defended localizer as one ONNX graph",
    "convert": "turn a .pth checkpoint into safetensors",
    "plugins": "list the installed forensics plugins",
}
# They go on from what an earlier run left in their folder, which no other may change meanwhile.
_RESUMED = ("evaluate", "attack", "localize")
# They run a network over and over: half of their time went into pages of memory given back and
# asked for again (tests/benchmarks/test_freed_memory.py).
_STEADY = ("demo", "localize", "train", "evaluate", "attack", "calibrate")
_INTERRUPTED = (
    "interrupted; nothing was left half-written. Run the same command to go on, or again."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    What the encoding of stdout and stderr lacks is printed as an escape.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with any_encoding(), _one_line_warnings(), _terminable():
        try:
            _dispatch(arguments)
        except (KeyboardInterrupt, TrainingInterrupted) as stop:
            return _fail(str(stop) or _INTERRUPTED, 130)
        except BrokenPipeError:  # the reader of our output has gone: `ansm info FILE | head`
            _silence_stdout()
            return 0
        except AnsmError as error:
            return _fail(str(error), 2)
        except (Exception, SystemExit) as error:
            return _unforeseen(error)
    return 0


def _dispatch(arguments: list[str]) -> None:
    name = arguments[0] if arguments else "--help"
    if not name.startswith("-") and name not in COMMANDS:
        raise ConfigError(unknown_name("command", name, COMMANDS))
    if name in _STEADY:
        _keep_freed_memory(one_arena=name == "localize")
    if name == "train":  # its options come from the recipe's config, so it reads them itself
        _module(name).run(arguments[1:])
        return
    options = _options(name, arguments)
    command = _module(name)
    with only_run_in(options.output if name in _RESUMED else None):
        command.run(options)


def _options(name: str, arguments: list[str]) -> Any:
    """Return the options of a command as its dataclass; help ends the program."""
    if name.startswith("-"):
        if name in ("-h", "--help", "--version"):
            _parser(name).parse_args([name])  # it ends here
        raise ConfigError(f"{name} stands before a command; name that first: ansm COMMAND {name}.")
    if wants_help(arguments[1:]):
        _parser(name).parse_args([name, "--help"])
    line = shlex.join(["ansm", *arguments])
    return parsed(name, _module(name).OPTIONS, arguments[1:], line)


def _keep_freed_memory(*, one_arena: bool = False) -> None:
    """Have glibc keep what tensors free for the next ones; elsewhere do nothing.

    With one arena threads share what is kept: of three photographs of 12 megapixels, which one
    thread reads and another writes, 397 MB were in use, and 505 MB with an arena for each thread.

    Not what is larger than any map of a tile: kept, the maps of a photograph of 100 megapixels
    lay in 111 bytes per pixel, given back in less than half of that.
    """
    mmap_threshold, trim_threshold = -3, -1  # of malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
    arena_max = -8
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 2**27)
        mallopt(trim_threshold, 2**31 - 1)
        if one_arena:
            mallopt(arena_max, 1)


def _module(command: str) -> Any:
    """Return a command's module: OPTIONS (a dataclass), and `run`, which takes one."""
    return importlib.import_module(f"ansm_plugin.commands.{command}")


def _parser(chosen: str) -> Parser:
    """Return the parser of all commands, with the options of the chosen one alone."""
    parser = Parser(
        prog="ansm",
        description="Defend a forgery localizer against adversarial noise.",
        epilog="`ansm COMMAND --help` shows the options of a command.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"ansm {_version()}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        command = commands.add_parser(name, help=summary, description=summary, allow_abbrev=False)
        if name == chosen and (kind := _module(name).OPTIONS) is not None:
            add_options(command, kind)
    return parser


# --- how it ends --------------------------------------------------------------------------------


def _fail(message: str, code: int) -> int:
    print(f"error: {harmless(message)}", file=sys.stderr)
    return code


def _unforeseen(error: Exception | SystemExit) -> int:
    """Say whose mistake it is: that of other code which we called, the system's, or ours."""
    place = culprit(error)
    if place is not None:
        said = one_line(f"{type(error).__name__}: {error}".rstrip(": "))
        code = _fail(f"the mistake is in {place}, not in ansm_plugin: {said}", 1)
        traceback.print_exception(error)
        return code
    if isinstance(error, SystemExit):  # argparse has printed the help
        return error.code if isinstance(error.code, int) else 0 if error.code is None else 2
    if isinstance(error, OSError):
        return _fail(str(error), 2)
    traceback.print_exception(error)
    return _fail("this is a mistake in ansm_plugin; please report the lines above.", 1)


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end a command as Ctrl-C does: with a message, and tidily."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals belong to the main thread
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        said: set[str] = set()  # both stages of a recipe read the same folder

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if Path(filename).is_relative_to(Path(__file__).parent):
                text = harmless(str(message))
                if text not in said:
                    said.add(text)
                    print(f"warning: {text}", file=sys.stderr)
            else:
                as_python_does(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        warnings.filterwarnings("always", category=UserWarning, module="ansm_plugin")
        yield
