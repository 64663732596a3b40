"""One photograph becomes a mask, a map of probabilities, an overlay and a record, in three steps.

Each step takes what the one before made. A photograph that cannot be used, or was finished before,
is a record from then on, which the later steps hand on.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from torch import nn

from ansm_plugin.commands.finished import Finished
from ansm_plugin.commands.photographs import RESULTS, Photo
from ansm_plugin.data.cautions import RECOMPRESSED, Caution, TrainedOn, cautions_of
from ansm_plugin.data.history import FileHistory, history_of, identity_of
from ansm_plugin.data.paint import overlay, save_png
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.probability import save_probabilities, to_levels
from ansm_plugin.data.read import head_of, pixels_of, read_upright
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import AnsmError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.metrics.regions import TOP_SHARE, photograph_score, regions_of
from ansm_plugin.photograph import Probabilities, localize_image, localize_scored
from ansm_plugin.report.localized_words import attack_words, score_words, verdict_words
from ansm_plugin.report.previews import save_previews
from ansm_plugin.report.record import PhotographRecord, PhotographWarning, Verdict
from ansm_plugin.system.files import make_folder
from ansm_plugin.weights.catalogue_card import CardScores

SCORE_MEANING = (
    f"The score of a photograph is the mean probability of the most suspicious {TOP_SHARE:.1%} of "
    "its pixels. It says in which order to look. It is no probability that a photograph is forged: "
    "what is authentic may score high, and a forgery that the localizer does not see scores low."
)
T = TypeVar("T")


class Decoded(NamedTuple):
    """A photograph in memory, and what is known of its file.

    `compressed` says whether its levels are other ones than were saved at first, `seconds` what
    reading took.
    """

    pixels: Pixels
    record: PhotographRecord
    compressed: bool
    seconds: float


class Localized(NamedTuple):
    """A photograph and its probabilities, `(H, W)` in [0, 1]; `seconds` from its reading on."""

    pixels: Pixels
    probabilities: Probabilities
    record: PhotographRecord
    seconds: float


class Scoring(NamedTuple):
    """What is made of the score of a photograph.

    Attributes:
        least: below which nothing is marked; None marks whatever the score is.
        known: scores of other photographs.
    """

    least: float | None = None
    known: tuple[CardScores, ...] = ()

    def judged(self, score: float, verdict: Verdict | None) -> dict[str, Any]:
        """Return what the record says of a score; with a `verdict` where nothing is marked.

        One that is undecided keeps its marks: noise that an attacker added can lower the score.
        """
        said: dict[str, Any] = {"score": score, "score_words": score_words(score, self.known)}
        if self.known:
            said["authentic_as_high"] = self.known[0].as_high(score)[0]
        if self.least is None or score >= self.least or verdict == "undecided":
            return said
        return said | {"verdict": "below", "verdict_words": verdict_words("below")}


class Answer(NamedTuple):
    """What the model says of pixels: probabilities `(H, W)`, which mask was kept, attack score."""

    probabilities: Probabilities
    verdict: Verdict
    attack_score: float | None = None


Localize = Callable[[Pixels], Answer]


def localizing(
    model: nn.Module,
    spec: LocalizerSpec,
    tile: int,
    *,
    is_scored: bool,
    gate: bool,
    abstain: float | None,
) -> Localize:
    """Return how one photograph is localized, and how its attack score is found.

    Args:
        model: a localizer, bare or defended.
        spec: how it is called.
        tile: longest side in pixels that is worked on at once.
        is_scored: whether a defended one gives attack scores.
        gate: whether the bare mask is kept where the score is not above 0.
        abstain: score above which a photograph is undecided; None decides every one.

    Raises:
        AnsmError: a score is needed and the ANSM was not calibrated.
    """
    if not isinstance(model, DefendedLocalizer) or not is_scored:
        verdict: Verdict = "defended" if isinstance(model, DefendedLocalizer) else "bare"
        return lambda pixels: Answer(localize_image(model, spec, pixels, tile=tile), verdict)
    model.require_score()  # now, not once for every photograph

    def scored(pixels: Pixels) -> Answer:
        bare, defended, score = localize_scored(model, pixels, tile=tile)
        is_gated = gate and score <= 0
        probabilities = bare if is_gated else defended
        if abstain is not None and score > abstain:
            return Answer(probabilities, "undecided", score)
        return Answer(probabilities, "gated" if is_gated else "defended", score)

    return scored


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """How a photograph is read, localized and written.

    Attributes:
        output: the folder of results.
        localize: pixels -> probabilities.
        threshold: a pixel is marked where its probability is above this.
        finished: what was done before, and where it is kept.
        trained_on: what the localizer's weights say that they were trained on.
        with_previews: whether the pictures of the page are written.
        scoring: what is made of the score of a photograph.
    """

    output: Path
    localize: Localize
    threshold: float
    finished: Finished
    trained_on: TrainedOn
    with_previews: bool
    scoring: Scoring

    def read(self, photo: Photo) -> Decoded | PhotographRecord:
        """Return pixels and what the file says; or the record of one finished before."""
        start = time.perf_counter()
        record = PhotographRecord(file=str(photo.file))

        def decoded() -> Decoded | PhotographRecord:
            nonlocal record
            head_of(photo.file)  # an error that says what is wrong; a pipe is not opened
            sha256, size = identity_of(photo.file)
            before = self.finished.of(photo, sha256)
            if before is not None:
                return before
            record = dataclasses.replace(record, sha256=sha256, bytes=size)
            found = read_upright(photo.file)
            history = history_of(found.source)
            pixels = pixels_of(found.image, photo.file)
            cautions = cautions_of(history, found, self.trained_on)
            record = dataclasses.replace(record, **_said(history, pixels, cautions))
            compressed = found.is_lossy or any(c.kind == RECOMPRESSED for c in cautions)
            return Decoded(pixels, record, compressed, time.perf_counter() - start)

        return _or_failed(decoded, lambda: record)

    def work(self, photo: Photo, read: Decoded | PhotographRecord) -> Localized | PhotographRecord:
        """Return the probabilities of what was read."""
        if isinstance(read, PhotographRecord):
            return read
        start = time.perf_counter()

        def localized() -> Localized:
            probabilities, verdict, score = self.localize(read.pixels)
            record = dataclasses.replace(
                read.record,
                verdict=verdict,
                verdict_words=verdict_words(verdict),
                attack_score=score,
                attack_words=attack_words(score, compressed=read.compressed),
            )
            seconds = read.seconds + time.perf_counter() - start
            return Localized(read.pixels, probabilities, record, seconds)

        return _or_failed(localized, lambda: read.record)

    def write(self, photo: Photo, made: Localized | PhotographRecord) -> PhotographRecord:
        """Write the results of a photograph, and return and keep its record."""
        if isinstance(made, PhotographRecord):
            return made
        start = time.perf_counter()

        def written() -> PhotographRecord:
            record = dataclasses.replace(made.record, **self._results(photo, made))
            seconds = made.seconds + time.perf_counter() - start
            record = dataclasses.replace(record, seconds=round(seconds, 3))
            self.finished.keep(record)
            return record

        return _or_failed(written, lambda: made.record)

    def _results(self, photo: Photo, made: Localized) -> dict[str, Any]:
        """Write the files of a photograph; return what the record says of them.

        One after the other, so that few large copies are in memory at once.
        """
        names = {kind: photo.result(kind) for kind in RESULTS}
        files = {kind: self.output / name for kind, name in names.items()}
        make_folder(files["mask"].parent)
        levels = to_levels(made.probabilities)
        score = photograph_score(levels)
        judged = self.scoring.judged(score, made.record.verdict)
        mask = made.probabilities > (math.inf if "verdict" in judged else self.threshold)
        save_png(files["mask"], mask.view(np.uint8) * np.uint8(255))
        save_png(files["overlay"], overlay(made.pixels, mask))
        said: dict[str, Any] = {kind: name.as_posix() for kind, name in names.items()}
        if self.with_previews:
            previews = save_previews(made.pixels, made.probabilities, self.output, photo.name)
            said |= dict(zip(("preview", "probability_preview"), previews, strict=True))
        save_probabilities(files["probability"], levels)
        regions = regions_of(made.probabilities, mask)
        return (
            said
            | judged
            | {
                "marked_share": float(mask.mean()),
                "regions": tuple(regions.listed),
                "other_regions": regions.others,
            }
        )


def _said(history: FileHistory, pixels: Pixels, cautions: list[Caution]) -> dict[str, Any]:
    """Return what the file says of itself, for the record."""
    tables = history.quantisation
    return {
        "width": pixels.shape[1],
        "height": pixels.shape[0],
        "format": history.format,
        "camera": history.camera,
        "software": history.software,
        "taken": history.taken,
        "jpeg_quality": None if tables is None else tables.quality,
        "quantisation": None if tables is None else tables.words,
        "subsampling": history.subsampling,
        "warnings": tuple(PhotographWarning(kind=c.kind, text=c.text) for c in cautions),
    }


def _or_failed(
    step: Callable[[], T], record: Callable[[], PhotographRecord]
) -> T | PhotographRecord:
    """Return what a step makes; where it fails, the record with the reason."""
    try:
        return step()
    except (AnsmError, OSError, MemoryError) as error:
        return dataclasses.replace(record(), error=str(error) or type(error).__name__)
