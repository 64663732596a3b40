"""Results of `ansm localize` without a localizer: records, and the small pictures they name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.image_files import photograph

from ansm_plugin.metrics.regions import Region
from ansm_plugin.report.localized_words import attack_words, verdict_words
from ansm_plugin.report.previews import save_previews
from ansm_plugin.report.record import (
    About,
    PhotographRecord,
    PhotographWarning,
    Verdict,
)

ABOUT = About(
    localizer="smp:Unet",
    localizer_sha256="12" * 32,
    ansm="base.safetensors",
    ansm_version="1",
    ansm_licence="Apache-2.0",
    threshold=0.5,
    time="2026-01-02T03:04:05+00:00",
    command="ansm localize photos --output out",
    version="0.2.0",
    score_meaning="The score is the mean of the highest 1 % of the probabilities.",
    left_out=(("notes.txt", "no image"),),
)
HEIGHT, WIDTH = 120, 160
BOX = (40, 30, 48, 36)  # left, top, width, height of what is marked
_VERDICTS: tuple[Verdict, ...] = ("gated", "defended", "bare", "undecided")
_RECOMPRESSED = PhotographWarning(kind="recompressed", text="It was saved as JPEG twice.")


def probabilities(highest: float) -> np.ndarray:
    """Return `(HEIGHT, WIDTH)`: `highest` in the box, half of it in a rim around, else 0.02."""
    left, top, width, height = BOX
    found = np.full((HEIGHT, WIDTH), 0.02, np.float32)
    found[top - 8 : top + height + 8, left - 8 : left + width + 8] = highest / 2
    found[top : top + height, left : left + width] = highest
    return found


def record(number: int, folder: Path, *, highest: float | None = None) -> PhotographRecord:
    """Return what is said of photograph `number`; its previews are written into `folder`.

    The higher the number the lower the score; every third has a warning; scores below 0.5 have no
    marks.
    """
    highest = 0.99 * 0.985**number if highest is None else highest
    pixels = photograph(HEIGHT, WIDTH, seed=number % 7)
    name = Path(f"photo-{number:03d}.jpg")
    preview, small = save_previews(pixels, probabilities(highest), folder, name)
    left, top, width, height = BOX
    region = Region(
        x=left,
        y=top,
        width=width,
        height=height,
        area=width * height,
        mean=highest,
        highest=highest,
    )
    attack_score = number % 5 - 2.5
    verdict = _VERDICTS[number % 4]
    is_marked = highest > 0.5
    return PhotographRecord(
        file=f"photos/{name}",
        mask=f"{name.stem}-mask.png",
        overlay=f"{name.stem}-overlay.png",
        probability=f"{name.stem}-probability.png",
        preview=preview,
        probability_preview=small,
        width=WIDTH,
        height=HEIGHT,
        score=highest,
        score_words="high" if is_marked else "low",
        marked_share=width * height / (WIDTH * HEIGHT) if is_marked else 0.0,
        regions=(region,) if is_marked else (),
        attack_score=attack_score,
        attack_words=attack_words(attack_score),
        verdict=verdict,
        verdict_words=verdict_words(verdict),
        warnings=(_RECOMPRESSED,) if number % 3 == 0 else (),
        camera="Canon EOS 5D" if number % 2 else "Nikon D90",
        software="GIMP 2.10" if number % 3 == 0 else None,
        taken="2020:05:06 07:08:09",
        jpeg_quality=90,
        quantisation="standard tables",
        subsampling="4:2:0",
        sha256=f"{number:064x}",
        seconds=1.25,
    )


def records(count: int, folder: Path) -> list[PhotographRecord]:
    """Return `count` records, and their previews in `folder`."""
    return [record(number, folder) for number in range(count)]
