"""The catalogue of weights as text: all of it, or the card of one. Nothing here imports torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence

from ansm_plugin.weights.catalogue import DEFAULT_LOCALIZER, SMALL_LOCALIZER, Listed
from ansm_plugin.weights.catalogue_card import FAILS, Card, CardFigure, CardScores, TrainedRange

LEAST_SCORES = (0.95, 0.97, 0.98, 0.985)  # that the card tells of
_LABEL = 14  # letters before what a line says


def catalogue_lines(found: Iterable[Listed]) -> Iterator[str]:
    """Yield two lines for each name, what it scores and what it is for, and how to use one."""
    listed = list(found)
    head = ("name", "F1", "defended", "ANSM", "licence", "MB", "from")
    titles, *rows = _aligned([head, *map(_row, listed)])
    yield titles
    for row, one in zip(rows, listed, strict=True):
        yield row
        yield f"    {one.card.summary}"
    yield ""
    for name, sentence in FAILS.items():
        if any(name in one.card.does for one in listed):
            yield f"{name}: {sentence}"
    yield "F1 is that of the first figure of each card: other sets, other figures."
    yield "`ansm models NAME` shows them all. `--localizer NAME` uses one, with its ANSM."
    yield f"`ansm train` takes {SMALL_LOCALIZER} where none is named."
    yield f"Where no localizer is named, it is {DEFAULT_LOCALIZER}."


def card_lines(listed: Listed) -> Iterator[str]:
    """Yield all that a card says, with the files and a command that uses them."""
    card = listed.card
    yield f"{card.name}: {card.summary}"
    yield from _said("localizer", [card.architecture])
    yield from _said("ANSM", [ansm_in_words(card), *card.fails])
    yield from _said("licence", [card.licence])
    yield from _said("terms", [card.terms])
    yield from _said("data", card.data)
    yield from _said("trained on", range_lines(card.trained_on))
    yield from _said("limits", card.limits)
    yield from figure_lines(card.figures)
    yield from _said("scores", score_lines(card.scores))
    yield from _said("from", [listed.origin])
    yield from _said("files", _files(listed))
    yield from _said("use", _uses(listed))


def figure_lines(figures: Sequence[CardFigure]) -> Iterator[str]:
    """Yield a table of figures, the source of each below it."""
    if not figures:
        return
    head = ("F1", "defended", "marking all", "images", "measured on")
    yield ""
    titles, *rows = _aligned([head, *map(_measured, figures)])
    yield titles
    below = " " * titles.index(head[-1])
    for row, figure in zip(rows, figures, strict=True):
        yield row
        if figure.source:
            yield f"{below}{figure.source}"
    yield "(F1 of the localizer alone, behind its ANSM, and of a mask that marks every pixel)"
    yield ""


def score_lines(scores: Sequence[CardScores]) -> Iterator[str]:
    """Yield how many photographs of each set score how high, for `localize --least-score`."""
    for known in scores:
        for least in LEAST_SCORES:
            authentic, forged = known.as_high(least)
            rest = "" if forged is None else f", {forged:.0%} of {len(known.forged)} forged ones"
            yield f"{least:g} or more: {authentic:.0%} of {len(known.authentic)} authentic{rest}"
        yield f"  ({known.set})"


def ansm_in_words(card: Card) -> str:
    """Return whether there is an ANSM, and what it does that it should not."""
    if card.ansm is None:
        return "no"
    return "yes" if not card.does else f"yes, but {' and '.join(card.does)}"


def range_lines(trained_on: TrainedRange) -> Iterator[str]:
    """Yield what a localizer was trained on, outside of which `ansm localize` warns."""
    if trained_on.sides is not None:
        yield f"pictures whose shorter side has {_between(trained_on.sides)} pixels"
    if trained_on.formats is not None:
        yield f"files: {', '.join(trained_on.formats)}"
    if trained_on.jpeg_quality is not None:
        yield f"JPEG quality: {_between(trained_on.jpeg_quality)}"


def _row(listed: Listed) -> tuple[str, ...]:
    card = listed.card
    first = card.figures[0] if card.figures else CardFigure(set="")
    scores = (_shown(first.f1), _shown(first.f1_defended))
    size = f"{listed.bytes / 1e6:.1f}"
    return (card.name, *scores, ansm_in_words(card), card.licence, size, listed.origin)


def _measured(figure: CardFigure) -> tuple[str, ...]:
    numbers = (figure.f1, figure.f1_defended, figure.marking_everything)
    images = "-" if figure.images is None else f"{figure.images:,}"
    return (*map(_shown, numbers), images, figure.set)


def _files(listed: Listed) -> Iterator[str]:
    named = {"localizer": listed.weights, "ANSM": listed.ansm, "hardened ANSM": listed.hardened}
    for what, file in named.items():
        if file is not None:
            yield f"{what}: {file} ({file.stat().st_size / 1e6:.1f} MB)"


def _uses(listed: Listed) -> Iterator[str]:
    use = f"ansm localize photo.jpg --output masks/ --localizer {listed.card.name}"
    yield use
    if listed.hardened is not None:
        yield f"{use} --ansm {shlex.quote(str(listed.hardened))}"


def _said(label: str, sentences: Iterable[str]) -> Iterator[str]:
    for number, sentence in enumerate(sentences):
        yield f"{'' if number else label:<{_LABEL}}{sentence}"


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their columns under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def _between(ends: tuple[int, int]) -> str:
    return f"{ends[0]}" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def _shown(number: float | None) -> str:
    return "-" if number is None else f"{number:.3f}"
