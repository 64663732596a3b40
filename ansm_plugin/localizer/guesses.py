"""What is taken for granted about a localizer that does not say it: shown, and to be overruled."""

from __future__ import annotations


class Guess(UserWarning):
    """A warning that a fact was guessed.

    Args:
        text: what was guessed, from what, and how to say it.
        fields: of `LocalizerSpec` that say it.
    """

    def __init__(self, text: str, *fields: str) -> None:
        super().__init__(text)
        self.fields = fields


def how_to_say(*fields: str) -> str:
    """Return how these fields of `LocalizerSpec` are given, in Python and to a command."""
    python = ", ".join(f"{field}=..." for field in fields)
    options = " and ".join(f"--localizer-{field}" for field in fields)
    return f"spec=LocalizerSpec({python}) in Python, {options} on the command line"
