"""Rows of a result from the scores of cells, the worst case over attacks among them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks.aims import TRUTH, Aim
from ansm_plugin.evaluation.framing import FramingRow
from ansm_plugin.evaluation.noise import Gradient
from ansm_plugin.evaluation.plan import Cell, Framed
from ansm_plugin.evaluation.results import T1, T4, WORST, Defence, Row, Threat
from ansm_plugin.evaluation.scores import Scores, attacked_alone, worst
from ansm_plugin.metrics.intervals import bootstrap_interval

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
    """Yield one row per cell and defence, and the worst case of T1 and T4 at each radius."""
    pairs = [pair for pair in zip(cells, scores, strict=True) if not pair[0].framed]
    for threat in dict.fromkeys(cell.threat for cell, _ in pairs):
        group = [pair for pair in pairs if pair[0].threat == threat]
        for cell, found in group:
            title = _title(cell)
            for defence, values in found.items():
                # A crop has cut the forged region of every image away, or none has a partner.
                if not len(attacked_alone(values).f1):
                    continue
                yield _row(title, defence, values, seed)
        if threat in (T1, T4):
            yield from _worst_rows(threat, group, seed)


def _worst_rows(
    threat: Threat, group: Sequence[tuple[Cell, dict[Defence, Scores]]], seed: int
) -> Iterator[Row]:
    for eps in dict.fromkeys(cell.eps_255 for cell, _ in group):
        same = [(cell, found) for cell, found in group if cell.eps_255 == eps]
        if len(same) < 2:  # one attack is its own worst case
            continue
        title = _Title(threat, WORST, eps, max(cell.noise.steps for cell, _ in same))
        for defence in same[0][0].scored:
            yield _row(title, defence, worst([found[defence] for _, found in same]), seed)


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
    low, high = bootstrap_interval(scores.f1, seed=seed)
    return Row(
        **title._asdict(),
        defence=defence,
        f1=float(scores.f1.mean()),
        f1_low=low,
        f1_high=high,
        iou=float(scores.iou.mean()),
        auc=_mean(scores.auc),
        images=len(scores.f1),
        permuted_f1=_mean(scores.permuted_f1),
        f1_by_area=_by_area(scores),
        false_positive_share=_mean(scores.false_positives),
        psnr=_mean(scores.psnr),
        ssim=_mean(scores.ssim),
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
