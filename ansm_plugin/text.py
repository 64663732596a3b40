"""Text from outside, such as file names and metadata, made harmless before a terminal shows it."""

from __future__ import annotations

import unicodedata

# Control and format characters (escapes, reversed writing), surrogates (undecodable bytes of file
# names), and separators of lines that terminals do not know.
_UNSHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_KEPT = "\n\t"


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
    print(harmless(message), flush=True)


def one_line(text: object, *, most: int = 1000) -> str:
    """Return harmless text without line breaks, cut where it is longer than `most` characters."""
    given = str(text)
    shown = harmless(given[:most], kept="")
    return f"{shown} ... ({len(given):,} characters)" if len(given) > most else shown


def _is_shown(character: str) -> bool:
    return unicodedata.category(character) not in _UNSHOWN


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
