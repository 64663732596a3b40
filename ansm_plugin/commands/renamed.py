"""Words of the command line that have changed, and words that people type for ours.

A word of an earlier version works until it is taken away, and says the new one. A word that was
never ours is answered with ours. Pure tables and texts: nothing heavy is imported.
"""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from ansm_plugin.system.paths import user_path

GONE_IN = "0.3"


def _any(text: str) -> bool:
    return True


def _is_count(text: str) -> bool:
    return text.isdecimal() and not user_path(text).exists()


def _is_shape(text: str) -> bool:
    return not text.endswith(".safetensors") and not user_path(text).exists()


class Renamed(NamedTuple):
    """The new word for an old one; `where` says which values meant the old one."""

    new: str
    where: Callable[[str], bool] = _any


# Command -> old word -> new one. `docs/options_pages.py` lists them.
RENAMED: dict[str, dict[str, Renamed]] = {
    "demo": {"--images": Renamed("--count", _is_count)},
    "attack": {"--steps": Renamed("--attack-steps")},
    "evaluate": {
        "--steps": Renamed("--attack-steps"),
        "--precision": Renamed("--attack-precision"),
    },
    "calibrate": {"--size": Renamed("--crop-size")},
    "train": {"--ansm": Renamed("--preset", _is_shape)},
}

# What people type -> what it is called here; a command answers with those that it has.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "--lr": ("--fit.learning-rate",),
    "--learning-rate": ("--fit.learning-rate",),
    "--bs": ("--batch-size",),
    "--batch": ("--batch-size",),
    "--epsilon": ("--eps",),
    "--eps-255": ("--eps",),
    "--iterations": ("--attack-steps", "--steps"),
    "--iters": ("--attack-steps", "--steps"),
    "--steps": ("--attack-steps",),
    "--model": ("--localizer",),
    "--weights": ("--ansm",),
    "--checkpoint": ("--ansm",),
    "--shape": ("--preset",),
    "--data": ("--images",),
    "--dataset": ("--images",),
    "--input": ("--images",),
    "--limit": ("--count",),
    "--num-images": ("--count",),
    "--gpu": ("--device",),
    "--cuda": ("--device",),
    "--cpu": ("--device",),
    "--out": ("--output",),
    "--overwrite": ("--force",),
    "--localizer": ("--for",),
}

# Command and word -> what to do instead, where another word of the command would not do.
INSTEAD: dict[tuple[str, str], str] = {
    ("demo", "--images"): (
        "it makes its own images, as many as --count says; for yours there is `ansm evaluate "
        "--images DIR`"
    ),
    ("localize", "--images"): (
        "photographs and folders are named without an option: ansm localize FOLDER --output DIR"
    ),
    ("localize", "--count"): "it takes every photograph that is named",
    ("evaluate", "--threshold"): (
        "F1 is taken at 0.5, as other work has it, and AUC over all thresholds; `ansm localize` "
        "has --threshold"
    ),
    ("doctor", "--localizer"): "the localizer is named without an option: ansm doctor NAME",
    ("doctor", "--ansm"): "it looks at a localizer; `ansm info FILE` tells of an ANSM",
}


def modern(command: str, arguments: Sequence[str]) -> list[str]:
    """Return arguments with the words of today, and warn of each that was not.

    Args:
        command: without "ansm": "demo", "train".
        arguments: behind it.
    """
    table = RENAMED.get(command, {})
    words: list[str] = []
    for place, word in enumerate(arguments):
        if "--" in words:
            words.append(word)
            continue
        option, equals, value = word.partition("=")
        following = value if equals else "".join(arguments[place + 1 : place + 2])
        renamed = table.get(option)
        if renamed is None or not renamed.where(following):
            words.append(word)
            continue
        warnings.warn(
            f"ansm {command} {option} is {renamed.new} now; the old word goes in {GONE_IN}.",
            stacklevel=2,
        )
        words.append(f"{renamed.new}{equals}{value}")
    return words


def no_such_option(command: str, given: str, known: Iterable[str]) -> str:
    """Return the message for an option that a command has not, with the nearest that it has.

    Args:
        command: as it is typed behind "ansm": "evaluate", "train mgr".
        given: the option.
        known: all that the command has.
    """
    start = f"ansm {command} has no option {given}"
    instead = INSTEAD.get((command, given))
    if instead is not None:
        return f"{start}: {instead}."
    near = nearest_options(given, list(known))
    hint = f" Nearest: {', '.join(near)}." if near else ""
    return f"{start}.{hint} `ansm {command} --help` lists all."


def nearest_options(given: str, known: Sequence[str]) -> list[str]:
    """Return at most three options that are meant by a word, or look like it; short ones first.

    Options such as --mgr.fit.steps are found by their last part too: --stpes.
    """
    meant = [w for s in SYNONYMS.get(given, ()) for w in known if w == s or _ends(w, s)]
    if meant:
        return meant[:3]
    by_end: dict[str, list[str]] = {}
    for option in known:
        by_end.setdefault(option.lstrip("-").rpartition(".")[2], []).append(option)
    # The time grows with the square of the length, and a word may be anything.
    short = given[:100].lstrip("-").casefold()
    most = 1 if "." in given else 3  # options of one table look alike by its name
    whole = difflib.get_close_matches(given[:100].casefold(), known, n=most, cutoff=0.7)
    ends = difflib.get_close_matches(short, by_end, n=2, cutoff=0.7)
    found = [*whole, *(option for end in ends for option in by_end[end])]
    return list(dict.fromkeys(found))[:3]


def _ends(option: str, short: str) -> bool:
    return option.endswith(f".{short.lstrip('-')}")
