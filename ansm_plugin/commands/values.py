"""What stands behind an option on the command line, as a value.

Each function takes the text and returns the value; where it is none it raises ValueError, which
says what is allowed: "it must be a whole number of 1 or more". What was given is said by whoever
calls it, see `reading`.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from ansm_plugin.system.paths import user_path

# Radii below the second are rounded away where pixels have 8 bits; `attacks.radius`, which is too
# heavy to be imported here, refuses those below the first.
_REFUSED, _HALF_A_LEVEL = 0.099, 0.5

Triple = tuple[float, float, float]


def filled(text: str) -> str:
    """Return the text; there is none where a variable was not set."""
    if not text.strip():
        raise ValueError("it is empty; give a value, or leave the option out")
    return text


def path(text: str) -> Path:
    """Return a path, `~` as in a shell."""
    return user_path(filled(text))


def positive(text: str) -> int:
    """Return a whole number of 1 or more."""
    return _whole(text, 1, "it must be a whole number of 1 or more")


def natural(text: str) -> int:
    """Return a whole number of 0 or more."""
    return _whole(text, 0, "it must be a whole number of 0 or more")


def whole(text: str) -> int:
    """Return a whole number, whatever its sign."""
    return _whole(text, None, "it must be a whole number")


def _whole(text: str, least: int | None, allowed: str) -> int:
    try:
        number = int(text)
    except ValueError as error:
        raise ValueError(allowed) from error
    if least is not None and number < least:
        raise ValueError(allowed)
    return number


def finite(text: str) -> float:
    """Return a number that is neither NaN nor infinite."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ValueError("it must be a number such as 0.5")
    return value


def one_of(choices: Sequence[str]) -> Callable[[str], str]:
    """Return the function that takes one of some texts and no other."""

    def chosen(text: str) -> str:
        if text not in choices:
            raise ValueError(f"allowed: {', '.join(choices)}")
        return text

    return chosen


# --- lists ----------------------------------------------------------------------------------------


def names(text: str) -> tuple[str, ...]:
    """Return the names between commas: "a, b," -> ("a", "b")."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers between commas."""
    try:
        return tuple(float(part) for part in names(text))
    except ValueError as error:
        raise ValueError("it must be numbers with commas: 2,4,8") from error


def triple(text: str) -> Triple:
    """Return three numbers between commas."""
    try:
        red, green, blue = (finite(part) for part in names(text))
    except ValueError as error:
        raise ValueError("it must be three numbers with commas: 0.485,0.456,0.406") from error
    return red, green, blue


def grey_levels(text: str) -> tuple[float, ...]:
    """Return radii between commas.

    Warns of those that 8 bits do not hold: other libraries take eps as a share of 255.
    """
    how = "eps is in grey levels of 255: 8/255 is --eps 8"
    try:
        levels = numbers(text)
    except ValueError as error:
        raise ValueError(f"{error}; {how}") from error
    least = min(levels, default=_HALF_A_LEVEL)
    if _REFUSED < least < _HALF_A_LEVEL:
        warnings.warn(f"--eps {least:g} is lost where pixels have 8 bits; {how}", stacklevel=1)
    return levels
