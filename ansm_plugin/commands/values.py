"""What stands behind an option on the command line, as a value."""

from __future__ import annotations

import argparse
import math
import warnings
from pathlib import Path

from ansm_plugin.system.paths import user_path

# Radii below the second are rounded away where pixels have 8 bits; `attacks.radius`, which is too
# heavy to be imported here, refuses those below the first.
_REFUSED, _HALF_A_LEVEL = 0.099, 0.5


def filled(text: str) -> str:
    """Return the text; raise what argparse shows where there is none, as of an unset variable."""
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; give a value, or leave the option out")
    return text


def path(text: str) -> Path:
    """Return a path, `~` as in a shell; raise what argparse shows where there is none."""
    return user_path(filled(text))


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


def finite(text: str) -> float:
    """Return a number that is neither NaN nor infinite; else raise what argparse shows."""
    refused = argparse.ArgumentTypeError(f"{text!r} is no number such as 0.5")
    try:
        value = float(text)
    except ValueError as error:
        raise refused from error
    if not math.isfinite(value):
        raise refused
    return value


def grey_levels(text: str) -> tuple[float, ...]:
    """Return radii between commas; raise what argparse shows where they are no numbers.

    Warns of those that 8 bits do not hold: other libraries take eps as a share of 255.
    """
    how = "eps is in grey levels of 255: 8/255 is --eps 8"
    try:
        levels = numbers(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}; {how}") from error
    least = min(levels, default=_HALF_A_LEVEL)
    if _REFUSED < least < _HALF_A_LEVEL:
        warnings.warn(f"--eps {least:g} is lost where pixels have 8 bits; {how}", stacklevel=1)
    return levels


# argparse names them in its message, "invalid _positive value: 'x'", which stays as it was in 0.1.
positive.__name__, natural.__name__ = "_positive", "_natural"
