"""The card of weights in the catalogue: what they are for, what is known of them, what they cost.

A file `NAME.card.toml` beside the weights. It is read strictly: a field that is misspelt or of
another type, and a file that is not there, is named with the card. Nothing here imports torch.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.system.typed import from_table

CARD = ".card.toml"
# A short name is no `family:query`, has no @ and no +, and leads to no other folder.
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")

Failing = Literal["decodes", "overwrites"]
# What an ANSM does that it should not, by the alarm of `ansm evaluate` that says so.
FAILS: dict[Failing, str] = {
    "decodes": "Its ANSM reads the attacker's mask out of the noise, so part of what comes back "
    "under attacks that know the true mask is no defence.",
    "overwrites": "Its ANSM writes a mask of its own into the picture, so part of what comes back "
    "is no defence.",
}


@dataclass(frozen=True, kw_only=True)
class TrainedRange:
    """What the localizer was trained on; None is what nobody knows.

    Attributes:
        sides: shortest and longest side of its pictures, in pixels.
        formats: of their files, as "JPEG".
        jpeg_quality: lowest and highest.
    """

    sides: tuple[int, int] | None = None
    formats: tuple[str, ...] | None = None
    jpeg_quality: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for a range that ends before it begins."""
        for name in ("sides", "jpeg_quality"):
            ends = getattr(self, name)
            if ends is not None and not 0 < ends[0] <= ends[1]:
                raise ValueError(f"{name} is {list(ends)}; it must be the lowest and the highest")


@dataclass(frozen=True, kw_only=True)
class MadeCrops:
    """The forged crops that are made for a localizer where nobody gives pictures.

    Attributes:
        style: "planted" or "photographic", as in `data.crops.DataConfig`.
        size: side of the crops, in pixels.
        count: how many are measured on where no number is given.
    """

    style: Literal["planted", "photographic"] = "planted"
    size: int = 64
    count: int = 96

    def __post_init__(self) -> None:
        """Raise ValueError for a size that no crop has, or no crops at all."""
        if self.size < 64:
            raise ValueError(f"size is {self.size}; it must be 64 or more")
        if self.count < 1:
            raise ValueError(f"count is {self.count}; it must be 1 or more")


@dataclass(frozen=True, kw_only=True)
class CardFigure:
    """Mean F1 over the images of a set, and how to have it again; None was not measured.

    Attributes:
        set: which images, and under which attack if there is one.
        images: how many.
        f1: of the bare localizer.
        f1_defended: behind the ANSM.
        marking_everything: what a mask scores that marks every pixel.
        source: command or page that has the numbers.
    """

    set: str
    images: int | None = None
    f1: float | None = None
    f1_defended: float | None = None
    marking_everything: float | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class CardScores:
    """Scores of whole photographs of a set, among which `ansm localize` places another's.

    Attributes:
        set: which photographs.
        authentic: scores of authentic ones, and
        forged: of forged ones, as `ansm localize` gives them behind the ANSM, in [0, 1].
    """

    set: str
    authentic: tuple[float, ...]
    forged: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError where there are no scores, or some are none."""
        if not self.authentic:
            raise ValueError(f"scores of {self.set!r} have none of authentic photographs")
        if not all(0 <= score <= 1 for score in (*self.authentic, *self.forged)):
            raise ValueError(f"scores of {self.set!r} must be between 0 and 1")

    def as_high(self, score: float) -> tuple[float, float | None]:
        """Return which shares of authentic and of forged ones score as high or higher.

        That of forged ones is None where the card has no scores of any.
        """
        return (
            _share_from(score, self.authentic),
            _share_from(score, self.forged) if self.forged else None,
        )


@dataclass(frozen=True, kw_only=True)
class Card:
    """What the catalogue says of a localizer and its ANSM.

    Attributes:
        name: short name, which is that of the file too.
        summary: for which photographs, in one line.
        architecture: as the command line names it: `smp:...`.
        weights: file of the localizer, beside the card.
        ansm: file of its ANSM, beside the card; None where there is none.
        hardened: file of another ANSM, trained against attackers who know the module.
        does: what its ANSM does that it should not: see `FAILS`.
        licence: of the weights, as SPDX names it.
        terms: what the data allow, in a sentence.
        data: what it was trained on, in sentences.
        limits: what it does not do, in sentences.
        trained_on: outside of which `ansm localize` warns.
        crops: what is made for it where nobody gives pictures; None where that is of no use.
        figures: the first is the one that the list of the catalogue shows.
        scores: of whole photographs; the first is the one that a line of the terminal names.
    """

    name: str
    summary: str
    architecture: str
    weights: str
    ansm: str | None = None
    hardened: str | None = None
    does: tuple[Failing, ...] = ()
    licence: str
    terms: str
    data: tuple[str, ...]
    limits: tuple[str, ...]
    trained_on: TrainedRange = TrainedRange()
    crops: MadeCrops | None = None
    figures: tuple[CardFigure, ...] = ()
    scores: tuple[CardScores, ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for an empty text, a name or a file of another form."""
        if not is_short_name(self.name):
            raise ValueError(f"name is {self.name!r}; allowed: small letters, digits, - . and _")
        for field in ("summary", "architecture", "licence", "terms"):
            text = getattr(self, field)
            if not text.strip() or "\n" in text:
                raise ValueError(f"{field} is {text!r}; it must be one line of text")
        for field in ("weights", "ansm", "hardened"):
            file = getattr(self, field)
            if file is not None and (Path(file).name != file or not file.endswith(".safetensors")):
                raise ValueError(f"{field} is {file!r}; it must be a .safetensors beside the card")

    @property
    def fails(self) -> tuple[str, ...]:
        """A sentence for each thing that its ANSM does and should not."""
        return tuple(FAILS[name] for name in self.does)


def _share_from(score: float, known: tuple[float, ...]) -> float:
    """Return the share of known scores, of which there is one, from this one on.

    Cards have three digits: as many of the score count.
    """
    return sum(one >= round(score, 3) for one in known) / len(known)


def is_short_name(name: str) -> bool:
    """Return whether a name of a localizer can be one of the catalogue."""
    return _NAME.fullmatch(name) is not None


def read_card(file: Path) -> Card:
    """Return what a card says; its weights are there.

    Raises:
        ConfigError: it cannot be read, or a field is missing, unknown or wrong; the card is named.
        WeightsError: a file that it names is not beside it.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # ValueError: no UTF-8, no TOML
        raise ConfigError(f"the card {file} cannot be read: {error}.") from error
    card = from_table(Card, table, str(file))
    if file.name != card.name + CARD:
        raise ConfigError(f"{file} has the name {card.name!r}; its file must be {card.name}{CARD}.")
    for name in filter(None, (card.weights, card.ansm, card.hardened)):
        if not (file.parent / name).is_file():
            raise WeightsError(
                f"{file} names {name}, which is not beside it; install the weights again."
            )
    return card
