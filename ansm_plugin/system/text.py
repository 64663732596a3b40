"""Text from outside: made harmless before a terminal shows it, and values read from it."""

from __future__ import annotations

import contextlib
import io
import math
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

# Control and format characters (escapes, reversed writing), surrogates (undecodable bytes of file
# names), and separators of lines that terminals do not know.
_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = "\n\t"
_LARGEST_NUMBER = 65_536  # widths and sizes; a slip of the finger must not fill the memory


def harmless(text: str, *, kept: str = _KEPT) -> str:
    """Return text with every character that could steer a terminal written as an escape.

    Args:
        text: anything.
        kept: control characters that stay: line breaks and tabs of our own messages.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c in kept or _is_shown(c) else _escaped(c) for c in text)


def say(message: str) -> None:
    """Print a message, and at once: logs are read while a run goes on."""
    # One write: several processes may print into one log, and a line must stay whole.
    print(harmless(message) + "\n", end="", flush=True)


@contextlib.contextmanager
def any_encoding() -> Iterator[None]:
    """Let stdout and stderr show what their encoding lacks as an escape, as harmless text has it.

    Else one name of a file ends a long command: Windows writes cp1252 into files and pipes, and
    LANG=C means ASCII. Streams that are no text files, such as those of a notebook, are left alone.
    """
    changed: list[tuple[io.TextIOWrapper, str]] = []
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.closed:
            changed.append((stream, stream.errors or "strict"))
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in changed:
            # What is left in it meets the same error again when it is flushed: it is gone.
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors=errors)


def one_line(text: object, *, most: int = 1000) -> str:
    """Return harmless text without line breaks, cut where it is longer than `most` characters."""
    given = str(text)
    shown = harmless(given[:most], kept="")
    return f"{shown} ... ({len(given):,} characters)" if len(given) > most else shown


def _is_shown(character: str) -> bool:
    return unicodedata.category(character) not in _UNSHOWN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def parse_value(text: str) -> Any:
    """Read "3" as int, "0.5" as float, "64,32" as a tuple of ints, anything else as text.

    Raises:
        ValueError: a number that no option of a model takes.
    """
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    if "," in text:
        return tuple(parse_value(part) for part in text.split(","))
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if not abs(number) <= _LARGEST_NUMBER:
            raise ValueError(f"{text[:40]} is not at most {_LARGEST_NUMBER}")
        return number
    return text


def number_or_nan(text: str) -> float:
    """Return the number that a text is; NaN, which every comparison refuses, where it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
