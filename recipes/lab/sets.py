"""Score a localizer, bare and behind its ANSM, on whole photographs of several sets, as JPEG too.

    PYTHONPATH=recipes python -m lab.sets OUTPUT.json LOCALIZER ANSM|none NAME=FOLDER ...

LOCALIZER is a name as on the command line. A FOLDER has `images/` and `masks/`; an empty mask marks
an authentic photograph. Nothing is attacked: `ansm evaluate` does that. Each photograph is scored
as it is, saved as JPEG at 90 and at 75, and shrunk to 70 % and enlarged again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.data.pairs import find_pairs
from ansm_plugin.data.samples import Sample, WholeImages
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.metrics.masks import (
    auc_scores,
    f1_scores,
    false_positive_share,
    permuted_f1_scores,
)
from ansm_plugin.metrics.regions import photograph_score

WAYS = ("as it is", "jpeg-90", "jpeg-75", "resize-70")
MARKED = 0.01  # share of an authentic photograph above which it counts as marked
Row = dict[str, float | str | None]


class Photograph(NamedTuple):
    """What is measured of one photograph."""

    is_forged: bool
    f1: float
    permuted_f1: float
    auc: float
    everything: float
    marked: float
    score: float


def main(output: Path, localizer: str, ansm: str, sets: Sequence[str]) -> None:
    """Measure every set, write all numbers, print the table."""
    forwards = forwards_of(build_localizer(localizer), None if ansm == "none" else ansm)
    rows: list[Row] = []
    for text in sets:
        name, _, folder = text.partition("=")
        rows += rows_of(name, Path(folder), forwards)
        print(f"{name} is done", file=sys.stderr)
    said = {"localizer": Path(localizer).name, "ansm": Path(ansm).name, "rows": rows}
    output.write_text(json.dumps(said, indent=1))
    print(table(rows))


def forwards_of(localizer: nn.Module, ansm: str | None) -> dict[str, Forward]:
    """Return what is scored by name: images `(B, 3, H, W)` in [0, 1] -> logits."""
    forwards = {"bare": mask_forward(localizer, describe(localizer))}
    if ansm is not None:
        defended = wrap_with_ansm(localizer, ansm)
        forwards["defended"] = mask_forward(defended, defended.spec)
    return forwards


def rows_of(name: str, folder: Path, forwards: dict[str, Forward]) -> Iterator[Row]:
    """Yield a row for each way and defence."""
    samples = WholeImages(find_pairs(folder / "images", folder / "masks"))
    seen: dict[tuple[str, str], list[Photograph]] = {}
    for sample in samples:
        for way in WAYS:
            images = sample.images if way == WAYS[0] else channel(way)(*sample[:2]).images
            for defence, forward in forwards.items():
                seen.setdefault((way, defence), []).extend(looked_at(forward, images, sample))
    for (way, defence), photographs in seen.items():
        yield {"set": name, "way": way, "defence": defence, **summary(photographs)}


@torch.no_grad()
def looked_at(forward: Forward, images: Tensor, sample: Sample) -> list[Photograph]:
    """Return what is measured of each image of a batch; one after the other, which needs less."""
    found = []
    for image, mask in zip(images[:, None], sample.masks[:, None], strict=True):
        logits = forward(image).float()
        levels = (logits.sigmoid()[0, 0] * 65535).round().to(torch.int32).numpy().astype(np.uint16)
        one = Photograph(
            is_forged=bool(mask.any()),
            f1=float(f1_scores(logits, mask)),
            permuted_f1=float(permuted_f1_scores(logits, mask)),
            auc=float(auc_scores(logits, mask)),
            everything=float(f1_scores(torch.ones_like(logits), mask)),
            marked=float(false_positive_share(logits)),
            score=photograph_score(levels),
        )
        found += [one]
    return found


def summary(photographs: Sequence[Photograph]) -> dict[str, float | None]:
    """Return means over forged and over authentic photographs; None where there are none."""
    forged = [p for p in photographs if p.is_forged]
    authentic = [p for p in photographs if not p.is_forged]
    return {
        "forged": len(forged),
        "f1": _mean([p.f1 for p in forged]),
        "permuted_f1": _mean([p.permuted_f1 for p in forged]),
        "auc": _mean([p.auc for p in forged]),
        "marking_everything": _mean([p.everything for p in forged]),
        "authentic": len(authentic),
        "marked": _mean([p.marked for p in authentic]),
        "authentic_marked": _mean([p.marked > MARKED for p in authentic]),
        "photograph_auc": _ranked([p.score for p in forged], [p.score for p in authentic]),
    }


def _mean(values: Sequence[float]) -> float | None:
    return float(np.nanmean(values)) if values else None


def _ranked(forged: Sequence[float], authentic: Sequence[float]) -> float | None:
    """Return how often a forged photograph scores above an authentic one; ties count half."""
    if not forged or not authentic:
        return None
    difference = np.subtract.outer(np.array(forged), np.array(authentic))
    return float(np.mean((difference > 0) + 0.5 * (difference == 0)))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(_cell(row[c]) for c in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: float | str | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    if len(sys.argv) < 5 or not all("=" in text for text in sys.argv[4:]):
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:])
