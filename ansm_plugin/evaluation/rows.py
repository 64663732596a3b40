"""Rows of a result from the scores of cells, the worst case over attacks among them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks.aims import TRUTH, Aim
from ansm_plugin.attacks.ball import Norm
from ansm_plugin.evaluation.framing import FramingRow
from ansm_plugin.evaluation.noise import Gradient, Noise, Transfer
from ansm_plugin.evaluation.plan import Cell, Framed
from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    NO_ATTACK,
    T0,
    T1,
    T2,
    T4,
    T35,
    WORST,
    WORST_L2,
    Defence,
    Row,
    Threat,
)
from ansm_plugin.evaluation.scores import Scores, attacked_alone, worst
from ansm_plugin.evaluation.summary import Intervals
from ansm_plugin.metrics.intervals import (
    bootstrap_interval,
    count_sources,
    harm_interval,
    recovery_interval,
)

_WITH_WORST = (T1, T2, T35, T4)  # threats whose attacks are taken together, too
_QUARTERS = 4
_FEWEST = 8  # images, below which a quarter of them says nothing


class _Title(NamedTuple):
    """What a row says about the attack it is of; the fields of `Row` with these names."""

    threat: Threat
    attack: str
    eps_255: float
    steps: int
    aim: Aim | None = None


def make_rows(
    cells: Sequence[Cell], scores: Sequence[dict[Defence, Scores]], seed: int
) -> Iterator[Row]:
    """Yield one row per cell and defence, and the worst case of a threat at each radius."""
    for title, defence, values in _scored(cells, scores):
        yield _row(title, defence, values, seed)


def _scored(
    cells: Sequence[Cell], scores: Sequence[dict[Defence, Scores]]
) -> Iterator[tuple[_Title, Defence, Scores]]:
    """Yield what each row is made of."""
    pairs = [pair for pair in zip(cells, scores, strict=True) if not pair[0].framed]
    for threat in dict.fromkeys(cell.threat for cell, _ in pairs):
        group = [pair for pair in pairs if pair[0].threat == threat]
        for cell, found in group:
            title = _title(cell)
            for defence, values in found.items():
                # A crop has cut the forged region of every image away, or none has a partner.
                if len(attacked_alone(values).f1):
                    yield title, defence, values
        if threat in _WITH_WORST:
            yield from _worst_scored(threat, group)


def _worst_scored(
    threat: Threat, group: Sequence[tuple[Cell, dict[Defence, Scores]]]
) -> Iterator[tuple[_Title, Defence, Scores]]:
    for eps, norm in dict.fromkeys((cell.eps_255, _norm(cell.noise)) for cell, _ in group):
        same = [pair for pair in group if (pair[0].eps_255, _norm(pair[0].noise)) == (eps, norm)]
        if len(same) < 2:  # one attack is its own worst case
            continue
        name = WORST if norm == "linf" else WORST_L2
        title = _Title(threat, name, eps, max(cell.noise.steps for cell, _ in same))
        for defence in same[0][0].scored:
            yield title, defence, worst([found[defence] for _, found in same])


def _norm(noise: Noise) -> Norm:
    """Return the norm of the ball; a radius says nothing of that of another norm."""
    return noise.spec.norm if isinstance(noise, Gradient | Transfer) else "linf"


def make_intervals(
    cells: Sequence[Cell], scores: Sequence[dict[Defence, Scores]], seed: int
) -> Intervals:
    """Return the fields of `Summary` that are ends of intervals of harm and recovery."""
    found: dict[_Title, dict[Defence, Scores]] = {}
    for title, defence, values in _scored(cells, scores):
        found.setdefault(title, {})[defence] = values
    clean = found[_Title(T0, NO_ATTACK, 0.0, 0)]
    source = sources(clean[BARE])
    low, high = _ends(harm_interval(clean[BARE].f1, clean[DEFENDED].f1, source, seed=seed))
    ends = {
        f"{title.attack}@{title.eps_255:g}": _ends(
            recovery_interval(clean[BARE].f1, pair[BARE].f1, pair[DEFENDED].f1, source, seed=seed)
        )
        for title, pair in found.items()
        if title.threat == T1
    }
    return {
        "harm_low": low,
        "harm_high": high,
        "recovery_low": {key: low for key, (low, _) in ends.items()},
        "recovery_high": {key: high for key, (_, high) in ends.items()},
    }


def sources(scores: Scores) -> Tensor:
    """Return the photograph of each forged image, `(B,)`; its own where nobody said."""
    count = len(scores.f1)
    return scores.source if len(scores.source) == count else torch.arange(count)


def _ends(interval: tuple[float, float]) -> tuple[float | None, float | None]:
    low, high = (None if math.isnan(end) else end for end in interval)
    return low, high


def make_framing(
    cells: Sequence[Cell], scores: Sequence[dict[Defence, Scores]], images: Framed
) -> Iterator[FramingRow]:
    """Yield one row per framed cell and defence, of authentic or of forged images, where any is."""
    for cell, found in zip(cells, scores, strict=True):
        if cell.framed == images:
            for defence, values in found.items():
                if len(values.f1):
                    yield _framing_row(_title(cell), defence, values)


def _framing_row(title: _Title, defence: Defence, scores: Scores) -> FramingRow:
    marked, area = scores.false_positives, scores.area
    # Of 2 hit / (marked + area), all as shares of the image.
    hit = scores.f1 * (marked + area) / 2
    chance = 2 * marked * area / (marked + area)
    return FramingRow(
        **title._asdict(),
        defence=defence,
        images=len(marked),
        marked=float(marked.mean()),
        inside=float((hit / area).mean()),
        outside=float(((marked - hit) / (1 - area)).clamp_min(0).mean()),
        f1=float(scores.f1.mean()),
        chance_f1=float(chance.mean()),
    )


def _title(cell: Cell) -> _Title:
    aim = cell.noise.aim if isinstance(cell.noise, Gradient) else TRUTH
    told = None if aim == TRUTH else aim
    return _Title(cell.threat, cell.attack, cell.eps_255, cell.noise.steps, told)


def _row(title: _Title, defence: Defence, scores: Scores, seed: int) -> Row:
    scores = attacked_alone(scores)
    source = sources(scores)
    low, high = _ends(bootstrap_interval(scores.f1, source, seed=seed))
    count = count_sources(source)
    return Row(
        **title._asdict(),
        defence=defence,
        f1=float(scores.f1.mean()),
        f1_low=0.0 if low is None else low,
        f1_high=1.0 if high is None else high,
        iou=float(scores.iou.mean()),
        auc=_mean(scores.auc),
        images=len(scores.f1),
        permuted_f1=_mean(scores.permuted_f1),
        f1_by_area=_by_area(scores),
        false_positive_share=_mean(scores.false_positives),
        psnr=_mean(scores.psnr),
        ssim=_mean(scores.ssim),
        photographs=count if count < len(scores.f1) else None,
    )


def _mean(values: Tensor) -> float | None:
    """Return the mean of what is defined; None where nothing is."""
    mean = float(values.nanmean()) if len(values) else float("nan")
    return None if mean != mean else mean


def _by_area(scores: Scores) -> tuple[float, ...] | None:
    """Return mean F1 of equal quarters of the images, by forged area: small regions are harder."""
    if len(scores.f1) < _FEWEST:
        return None
    order = torch.argsort(scores.area, stable=True)
    return tuple(float(part.mean()) for part in scores.f1[order].tensor_split(_QUARTERS))
