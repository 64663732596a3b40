"""Exceptions of ansm_plugin.

AnsmError                 every mistake a caller can make and mend
├── LocalizerError        the localizer cannot be wrapped, named, tapped or called
├── ImageError            an image, mask or tensor cannot be used
├── WeightsError          a weights file cannot be read, trusted or matched
├── ConfigError           an unknown name or a value out of range
└── TrainingError         a training stopped before its end (the checkpoint is named)
    └── TrainingInterrupted   because it was told to: Ctrl-C or SIGTERM

Each message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AnsmError(Exception):
    """Base of all errors that a user of ansm_plugin can mend.

    Remedy: read the message; catch this class to catch them all.
    """


class LocalizerError(AnsmError):
    """The localizer cannot be wrapped, named, tapped or called.

    Remedy: check its name or its output; pass spec=LocalizerSpec(...) where it cannot be read off.
    """


class ImageError(AnsmError):
    """An image, a mask or a tensor of pixels cannot be used.

    Remedy: the message names the file; copy it again or save it as 8-bit PNG of one frame.
    """


class WeightsError(AnsmError):
    """A weights file cannot be read, trusted or matched to a localizer.

    Remedy: copy it again, turn a pickle into safetensors with `ansm convert`, or train it anew.
    """


class ConfigError(AnsmError):
    """A name is unknown, a value is out of its range, or a result cannot be written.

    Remedy: take one of the names that are offered, or another folder.
    """


class TrainingError(AnsmError):
    """A training stopped before its end; the message names the last good checkpoint.

    Remedy: change what the message says, and run the command again; it goes on from there.
    """


class TrainingInterrupted(TrainingError):  # noqa: N818 - it is the user's wish, not an error
    """A training was told to stop, and wrote a checkpoint first.

    Remedy: run the same command to go on.
    """


def unknown_name(kind: str, given: str, known: Iterable[str]) -> str:
    """Return a message for an unknown name, with the nearest known names first."""
    names = sorted(known)
    near = nearest(given, names)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return f"unknown {kind} {given!r}.{hint} Known: {', '.join(names) or 'none'}."


def nearest(given: str, known: Iterable[str]) -> list[str]:
    """Return at most three known names that look like a given one, whatever its case; best first.

    Of a long text its start counts alone: the time grows with the square of its length.
    """
    by_case: dict[str, list[str]] = {}
    for name in known:
        by_case.setdefault(name.casefold(), []).append(name)
    near = difflib.get_close_matches(given[:200].casefold(), by_case, n=3, cutoff=0.4)
    return [name for folded in near for name in by_case[folded]][:3]
