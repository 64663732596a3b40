"""What is said of one localized photograph, and of the run: the page, CSV and JSON show the same.

Paths are relative to the folder of results, with forward slashes; pixels are those of the upright
photograph; probabilities, scores and shares are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ansm_plugin.metrics.regions import Region

Verdict = Literal["defended", "gated", "bare", "undecided", "below"]


@dataclass(frozen=True, kw_only=True)
class PhotographWarning:
    """A reason for care with one photograph.

    Attributes:
        kind: one word or two, the same for the same reason: "recompressed", "too small", ...
        text: one sentence for a reader.
    """

    kind: str
    text: str


@dataclass(frozen=True, kw_only=True)
class PhotographRecord:
    """All that is said of one photograph; a failed one has `file`, `error` and what was found.

    Attributes:
        file: the photograph, as the user named it.
        mask: file of the mask.
        probability: file of the probabilities, 16 bit.
        overlay: file of the photograph with the mask on it.
        preview: file of the small photograph, and
        probability_preview: of its probabilities, 8 bit; `report.previews.save_previews` writes
            both. Without them the page shows no picture.
        width: of the photograph, in pixels.
        height: of the photograph, in pixels.
        score: of the whole photograph; higher is more suspicious.
        score_words: what this score means.
        authentic_as_high: share of the authentic photographs of the card's first set that score as
            high or higher; None where the card has none.
        marked_share: share of the pixels above the threshold.
        regions: largest first.
        other_regions: number of parts that are too small, or too many, to be listed.
        attack_score: above 0 it looks attacked; None where none was asked for.
        attack_words: what this attack score means; see `report.localized_words`.
        verdict: which mask was kept.
        verdict_words: what was done; see `report.localized_words`.
        warnings: reasons for care.
        camera: maker and model, from EXIF.
        software: what wrote the file, from EXIF.
        taken: when, as EXIF has it.
        jpeg_quality: estimated from the quantisation tables, 1 to 100.
        quantisation: summary of the tables.
        subsampling: of colour, as "4:2:0".
        format: of the file, as "JPEG".
        bytes: size of the file.
        sha256: of the file.
        seconds: that reading, computing and writing took.
        error: why there is no result.
    """

    file: str
    mask: str | None = None
    probability: str | None = None
    overlay: str | None = None
    preview: str | None = None
    probability_preview: str | None = None
    width: int | None = None
    height: int | None = None
    score: float | None = None
    score_words: str = ""
    authentic_as_high: float | None = None
    marked_share: float | None = None
    regions: tuple[Region, ...] = ()
    other_regions: int = 0
    attack_score: float | None = None
    attack_words: str = ""
    verdict: Verdict | None = None
    verdict_words: str = ""
    warnings: tuple[PhotographWarning, ...] = ()
    camera: str | None = None
    software: str | None = None
    taken: str | None = None
    jpeg_quality: int | None = None
    quantisation: str | None = None
    subsampling: str | None = None
    format: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    seconds: float | None = None
    error: str | None = None


@dataclass(frozen=True, kw_only=True)
class About:
    """What the results of one run have in common.

    Attributes:
        localizer: its name.
        localizer_sha256: of its weights.
        localizer_licence: of its weights.
        ansm: name or file of the ANSM; None where the localizer was bare.
        ansm_sha256: of its file.
        ansm_version: of the ANSM's file or format.
        ansm_licence: of the ANSM.
        threshold: a pixel is marked where its probability is above this.
        device: that computed, as "cpu" or "cuda:0".
        time: when the run ended, ISO 8601.
        command: the command line.
        version: of ansm_plugin.
        score_meaning: what the score of a whole photograph is, and is not.
        left_out: entries that were not used, each with its reason, as (file, reason).
    """

    localizer: str
    localizer_sha256: str | None = None
    localizer_licence: str | None = None
    ansm: str | None = None
    ansm_sha256: str | None = None
    ansm_version: str | None = None
    ansm_licence: str | None = None
    threshold: float = 0.5
    device: str = "cpu"
    time: str = ""
    command: str = ""
    version: str = ""
    score_meaning: str = ""
    left_out: tuple[tuple[str, str], ...] = ()
