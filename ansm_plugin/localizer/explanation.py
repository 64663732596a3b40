"""What is known of a localizer, and what that rests on."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from ansm_plugin.localizer.gradient import GradientShare
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.tapped import Tapped

_WIDTH, _INDENT = 100, 13  # columns of a page, and of the names on it


@dataclass(frozen=True)
class Fact:
    """One thing that is known.

    Attributes:
        value: what, in words.
        source: where from.
        guess: "" for what was said or seen; else why it is a guess, and how to overrule it.
    """

    value: str
    source: str
    guess: str = ""


@dataclass(frozen=True)
class Verdict:
    """Whether a command works on the localizer; `reason` says why not, or under which condition."""

    command: str
    works: bool
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """All that we go by when we talk to a localizer, in plain words.

    Attributes:
        localizer: class of the localizer.
        around: classes of the wrappers that were looked through, the outermost first.
        spec: what all this amounts to.
        family: the kind of localizer it was taken for.
        normalisation: what its input is.
        sizes: the heights and widths that it takes.
        output: what it returns, and where the mask is in it.
        activation: what the mask holds.
        taps: its stages for FFA, each tried.
        gradient: which share of the gradient comes back to the image.
        dtype: of its first parameter; "" without one.
        device: of its first parameter; "cpu" without one.
        parameters: how many.
        commands: which of ours work.
        remarks: what else was noticed, each a sentence.
    """

    localizer: str
    around: tuple[str, ...]
    spec: LocalizerSpec
    family: Fact
    normalisation: Fact
    sizes: Fact
    output: Fact
    activation: Fact
    taps: tuple[Tapped, ...]
    gradient: GradientShare
    dtype: str
    device: str
    parameters: int
    commands: tuple[Verdict, ...]
    remarks: tuple[str, ...] = ()

    @property
    def guesses(self) -> tuple[str, ...]:
        """What was guessed, and how each guess is overruled."""
        facts = (self.family, self.normalisation, self.sizes, self.output, self.activation)
        return tuple(fact.guess for fact in facts if fact.guess)

    def to_json(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        table = asdict(self)
        table["taps"] = [tapped._asdict() for tapped in self.taps]
        return {**table, "guesses": list(self.guesses)}

    def lines(self) -> list[str]:
        """Return one page for people to read."""
        inside = "".join(f" in {name}" for name in reversed(self.around))
        where = f"{self.parameters:,} parameters, {self.dtype or 'no dtype'} on {self.device}"
        lines = _entry("localizer", f"{self.localizer}{inside}; {where}")
        for name, fact in (
            ("family", self.family),
            ("input", self.normalisation),
            ("sizes", self.sizes),
            ("output", self.output),
            ("mask holds", self.activation),
        ):
            guess = [f"GUESS: {fact.guess}"] if fact.guess else []
            lines += _entry(name, fact.value, f"({fact.source})", *guess)
        lines += _entry("taps", *([_tap(tapped) for tapped in self.taps] or ["none are known"]))
        lines += _entry("gradient", str(self.gradient))
        lines += _entry("commands", *_grouped(self.commands))
        return lines + (_entry("remarks", *self.remarks) if self.remarks else [])


def _entry(name: str, *texts: str) -> list[str]:
    """Return the lines of texts beside a name, wrapped; the first line has the name."""
    wrapped = [line for text in texts for line in textwrap.wrap(text, _WIDTH - _INDENT)]
    return [f"{'' if i else name:<{_INDENT}}{line}" for i, line in enumerate(wrapped)]


def _tap(tapped: Tapped) -> str:
    if tapped.shape is None:
        return f"{tapped.name}: {tapped.problem}"
    channels, places = tapped.shape
    return f"{tapped.name}: {channels} channels at {places} places of a small image"


def _grouped(verdicts: tuple[Verdict, ...]) -> Iterator[str]:
    """Yield a sentence for all commands that follow one another and of which the same is true."""
    for (works, reason), group in groupby(verdicts, lambda v: (v.works, v.reason)):
        names = ", ".join(verdict.command for verdict in group)
        yield f"{'yes' if works else 'NO'}: {names}" + (f" ({reason})" if reason else "")
