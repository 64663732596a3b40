"""Tests of the search behind the white-box figure: an attack that stops short measures nothing.

Checks of Carlini et al. (arXiv 1902.06705): more steps raise the loss and take little more, a huge
radius breaks everything, another random start changes little. Run on a few images, beside the
evaluation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch

from ansm_plugin.attacks import AttackSpec, attack_spec, run_attack
from ansm_plugin.attacks.objectives import bce
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.checks.probing import Probing
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import DEFENDED, T4, WORST, WORST_L2, Row, Rows
from ansm_plugin.localizer.call import Forward
from ansm_plugin.metrics.masks import f1_scores

HUGE_255 = 64.0  # grey levels: more noise than any photograph survives
_BROKEN = 0.15  # F1 that such noise may leave
_FALL = 0.95  # share of the loss that more steps may leave, for the noise of the random start
_UNSTABLE = 0.15  # difference of mean F1 between random starts, over a few images
_FALLING = 0.05  # F1 that twice the steps may take from the same images, from the same start


class _Run(NamedTuple):
    """One search on a few images, and what it is seeded by."""

    spec: AttackSpec
    eps_255: float
    seed: int

    @property
    def passes(self) -> int:
        """How many of the localizer it takes, about: gradients, comparisons of restarts, F1."""
        return self.spec.gradients + 2 * self.spec.restarts


def search_passes(config: EvaluationConfig, rows: Rows) -> int:
    """Return about how many passes of the localizer `search_doubts` and `unconverged` take."""
    runs = [*_efforts(config).values(), *_others(config)]
    runs += [run for row in _strongest(rows) for run in _longer(row, config)]
    return sum(run.passes for run in runs)


def search_doubts(
    forward: Forward, sample: Sample, config: EvaluationConfig, probing: Probing | None = None
) -> Iterator[str]:
    """Yield reasons to distrust PGD through a forward; none without T4.

    Args:
        forward: pixels -> mask logits, through the module.
        sample: a few forged images.
        config: gives the steps and the largest radius of T4.
        probing: shows and keeps the searches; None does neither.
    """
    efforts = _efforts(config)
    if not efforts:
        return
    steps = config.white_box_steps
    search = _Search(forward, sample, probing or Probing())
    found = {n: search.of(run) for n, run in efforts.items()}
    for fewer, more in pairwise(found):
        if found[more].loss < _FALL * found[fewer].loss:
            yield (
                f"the loss falls with steps: PGD through the module reaches {found[fewer].loss:.3g}"
                f" with {fewer} and {found[more].loss:.3g} with {more}. Its gradients mislead."
            )
    other, huge = (search.of(run) for run in _others(config))
    if abs(found[steps].f1 - other.f1) > _UNSTABLE:
        yield (
            f"another random start changes the white-box F1 from {found[steps].f1:.3f} to "
            f"{other.f1:.3f} on the first images: the search is unstable. Raise white_box_steps."
        )
    if huge.f1 > _BROKEN:
        yield (
            f"the margin attack with {HUGE_255:g}/255 through the module leaves F1 {huge.f1:.3f} on"
            " the first images; nothing survives so much noise, so the defence holds up the search."
        )


def _efforts(config: EvaluationConfig) -> dict[int, _Run]:
    """Return PGD with ever more steps, by their number; nothing without T4."""
    if T4 not in config.threats or not config.white_box_steps:
        return {}
    eps, steps = max(config.white_box_eps_255), config.white_box_steps
    efforts = sorted({1, max(1, steps // 2), steps})
    return {n: _Run(attack_spec("pgd", steps=n), eps, config.seed) for n in efforts}


def _others(config: EvaluationConfig) -> list[_Run]:
    """Return the longest search from another start, and that with a huge radius."""
    efforts = _efforts(config)
    if not efforts:
        return []
    steps = config.white_box_steps
    # Margin, since cross-entropy goes on with pixels that are wrong already.
    broken = _Run(attack_spec("margin", steps=steps), HUGE_255, config.seed)
    return [efforts[steps]._replace(seed=config.seed + 1), broken]


def unconverged(
    forward: Forward,
    sample: Sample,
    config: EvaluationConfig,
    rows: Rows,
    probing: Probing | None = None,
) -> Iterator[str]:
    """Yield that the white box still falls with twice the steps; nothing without T4.

    The strongest attack of each radius is run on a few images, as long as it was and twice as long.

    Args:
        forward: pixels -> mask logits, through the module.
        sample: a few forged images.
        config: of the evaluation.
        rows: of the evaluation; radii where nothing is left to take are passed over.
        probing: shows and keeps the searches; None does neither.
    """
    search = _Search(forward, sample, probing or Probing())
    worst: tuple[float, str] = (_FALLING, "")
    for row in _strongest(rows):
        short, long = (search.of(run).f1 for run in _longer(row, config))
        said = f"{row.key} leaves F1 {short:.3f} with {row.steps} steps and {long:.3f} with twice"
        worst = max(worst, (short - long, said))
    if worst[1]:
        yield (
            f"the white-box search is not at its end: on the first images {worst[1]} as many. Its "
            "T4 figure is too high: raise white_box_steps."
        )


def _longer(row: Row, config: EvaluationConfig) -> list[_Run]:
    """Return the attack of a row, and the same with twice the steps."""
    spec = attack_spec(row.attack.partition(",")[0], steps=row.steps)
    spec = replace(spec, restarts=config.white_box_restarts)
    longer = replace(spec, steps=2 * row.steps)
    return [_Run(each, row.eps_255, config.seed) for each in (spec, longer)]


def _strongest(rows: Rows) -> Iterator[Row]:
    """Yield the row of T4 of one attack, told the truth, that leaves least at each radius."""
    white = rows.only(threat=T4, defence=DEFENDED)
    single = [r for r in white if r.aim is None and r.attack not in (WORST, WORST_L2)]
    # An attack of one step is no search.
    searches = [r for r in single if r.norm == "linf" and r.steps > 1]
    for eps in sorted({row.eps_255 for row in searches}):
        row = min((r for r in searches if r.eps_255 == eps), key=lambda r: r.f1)
        if row.f1 > _FALLING:
            yield row


class _Result(NamedTuple):
    """What a search leaves: mean loss and mean F1 over the images."""

    loss: float
    f1: float


class _Search(NamedTuple):
    """Where searches are run: through what, and on which images."""

    forward: Forward
    sample: Sample
    probing: Probing

    def of(self, run: _Run) -> _Result:
        """Return what a search leaves, as it was kept or as it is found."""
        found = self.probing.numbers(
            f"search {run.spec.identity} {run.eps_255:g} {run.seed}",
            run.passes,
            lambda: self._run(run),
        )
        return _Result(*(found[name][0] for name in _Result._fields))

    def _run(self, run: _Run) -> dict[str, float]:
        images, masks, _ = self.sample
        forward = self.probing.watched(self.forward)
        generator = attack_generator(run.seed, "search", run.eps_255, 0)
        attacked = run_attack(
            forward, images, masks, run.eps_255 / 255, run.spec, generator=generator
        )
        with torch.no_grad():
            logits = forward(attacked)
        loss = bce(logits.float(), masks, 0.0).mean()
        return {"loss": float(loss), "f1": float(f1_scores(logits.cpu(), masks.cpu()).mean())}
