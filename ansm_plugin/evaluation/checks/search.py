"""Tests of the search behind the white-box figure: an attack that stops short measures nothing.

Checks of Carlini et al. (arXiv 1902.06705): more steps raise the loss and take little more, a huge
radius breaks everything, another random start changes little. Run on a few images, beside the
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
from torch import Tensor

from ansm_plugin.attacks import AttackSpec, attack_spec, run_attack
from ansm_plugin.attacks.objectives import bce
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import DEFENDED, T4, WORST, WORST_L2, Row, Rows
from ansm_plugin.localizer.call import Forward
from ansm_plugin.metrics.masks import f1_scores

HUGE_255 = 64.0  # grey levels: more noise than any photograph survives
_BROKEN = 0.15  # F1 that such noise may leave
_FALL = 0.95  # share of the loss that more steps may leave, for the noise of the random start
_UNSTABLE = 0.15  # difference of mean F1 between random starts, over a few images
_FALLING = 0.05  # F1 that twice the steps may take from the same images, from the same start


def search_doubts(forward: Forward, sample: Sample, config: EvaluationConfig) -> Iterator[str]:
    """Yield reasons to distrust PGD through a forward; none without T4.

    Args:
        forward: pixels -> mask logits, through the module.
        sample: a few forged images.
        config: gives the steps and the largest radius of T4.
    """
    if T4 not in config.threats or not config.white_box_steps:
        return
    eps, steps = max(config.white_box_eps_255), config.white_box_steps
    efforts = sorted({1, max(1, steps // 2), steps})
    runs = {n: _attacked(forward, sample, eps, n, config.seed) for n in efforts}
    losses = {n: _loss(forward, images, sample.masks) for n, images in runs.items()}
    for fewer, more in pairwise(efforts):
        if losses[more] < _FALL * losses[fewer]:
            yield (
                f"the loss falls with steps: PGD through the module reaches {losses[fewer]:.3g} "
                f"with {fewer} and {losses[more]:.3g} with {more}. Its gradients mislead."
            )
    found = _f1(forward, runs[steps], sample.masks)
    other = _f1(forward, _attacked(forward, sample, eps, steps, config.seed + 1), sample.masks)
    if abs(found - other) > _UNSTABLE:
        yield (
            f"another random start changes the white-box F1 from {found:.3f} to {other:.3f} on the "
            "first images: the search is unstable. Raise white_box_steps."
        )
    # Margin, since cross-entropy goes on with pixels that are wrong already.
    broken = _attacked(forward, sample, HUGE_255, steps, config.seed, "margin")
    huge = _f1(forward, broken, sample.masks)
    if huge > _BROKEN:
        yield (
            f"the margin attack with {HUGE_255:g}/255 through the module leaves F1 {huge:.3f} on "
            "the first images; nothing survives so much noise, so the defence holds up the search."
        )


def unconverged(
    forward: Forward, sample: Sample, config: EvaluationConfig, rows: Rows
) -> Iterator[str]:
    """Yield that the white box still falls with twice the steps; nothing without T4.

    The strongest attack of each radius is run on a few images, as long as it was and twice as long.

    Args:
        forward: pixels -> mask logits, through the module.
        sample: a few forged images.
        config: of the evaluation.
        rows: of the evaluation; radii where nothing is left to take are passed over.
    """
    worst: tuple[float, str] = (_FALLING, "")
    for row in _strongest(rows):
        spec = attack_spec(row.attack.partition(",")[0], steps=row.steps)
        longer = replace(spec, steps=2 * row.steps)
        short, long = (
            _f1(forward, _searched(forward, sample, row.eps_255, s, config.seed), sample.masks)
            for s in (replace(s, restarts=config.white_box_restarts) for s in (spec, longer))
        )
        said = f"{row.key} leaves F1 {short:.3f} with {row.steps} steps and {long:.3f} with twice"
        worst = max(worst, (short - long, said))
    if worst[1]:
        yield (
            f"the white-box search is not at its end: on the first images {worst[1]} as many. Its "
            "T4 figure is too high: raise white_box_steps."
        )


def _strongest(rows: Rows) -> Iterator[Row]:
    """Yield the row of T4 of one attack, told the truth, that leaves least at each radius."""
    white = rows.only(threat=T4, defence=DEFENDED)
    single = [r for r in white if r.aim is None and r.attack not in (WORST, WORST_L2)]
    # An attack of one step is no search.
    searches = [r for r in single if r.norm == "linf" and not r.attack.startswith("fgsm")]
    for eps in sorted({row.eps_255 for row in searches}):
        row = min((r for r in searches if r.eps_255 == eps), key=lambda r: r.f1)
        if row.f1 > _FALLING:
            yield row


def _attacked(
    forward: Forward, sample: Sample, eps_255: float, steps: int, seed: int, attack: str = "pgd"
) -> Tensor:
    return _searched(forward, sample, eps_255, attack_spec(attack, steps=steps), seed)


def _searched(
    forward: Forward, sample: Sample, eps_255: float, spec: AttackSpec, seed: int
) -> Tensor:
    generator = attack_generator(seed, "search", eps_255, 0)
    return run_attack(
        forward, sample.images, sample.masks, eps_255 / 255, spec, generator=generator
    )


def _loss(forward: Forward, images: Tensor, masks: Tensor) -> float:
    with torch.no_grad():
        return float(bce(forward(images).float(), masks, 0.0).mean())


def _f1(forward: Forward, images: Tensor, masks: Tensor) -> float:
    with torch.no_grad():
        return float(f1_scores(forward(images).cpu(), masks.cpu()).mean())
