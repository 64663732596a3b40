"""What stands behind an option on the command line, as a value."""

from __future__ import annotations

import argparse


def positive(text: str) -> int:
    """Return a whole number of 1 or more; else raise what argparse shows to the user."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def natural(text: str) -> int:
    """Return a whole number of 0 or more; else raise what argparse shows to the user."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return number


def names(text: str) -> tuple[str, ...]:
    """Return the names between commas: "a, b," -> ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers between commas; else raise what argparse shows to the user."""
    try:
        return tuple(float(part) for part in names(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not numbers with commas: 2,4,8") from error


# argparse names them in its message, "invalid _positive value: 'x'", which stays as it was in 0.1.
positive.__name__, natural.__name__ = "_positive", "_natural"
