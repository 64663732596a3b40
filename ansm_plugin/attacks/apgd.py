"""APGD on dense labels: a step size per image that halves where it stops helping.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
parameter-free attacks", ICML 2020, algorithm 1 with the authors' constants.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ansm_plugin.attacks.ball import Ball
from ansm_plugin.attacks.gradient import first_point
from ansm_plugin.attacks.slope import Slope, Worth
from ansm_plugin.attacks.spec import AttackSpec

_INERTIA = 0.75  # weight of the new step against the way it came from
_IMPROVING = 0.75  # share of steps that must improve, or the step halves


def apgd(slope: Slope, within: Ball, spec: AttackSpec, start: Tensor | None = None) -> Tensor:
    """Return the most successful point met per image, rounded to 8 bit.

    Costs `spec.steps` gradients and one forward pass. The value of the objective decides the step
    size and where the search goes on; F1, or what else the attacker is after, decides which point
    is returned.

    Args:
        slope: what is climbed.
        within: where.
        spec: number of steps and kind of start; its step size is not used.
        start: first point; by default what `spec` says.
    """
    current = first_point(within, spec, slope.generator) if start is None else start
    before = current
    gradient, worth = slope.gradient_and_worth(current, 0.0)
    search = _Search(current, gradient, worth, spec.steps)
    for index in range(1, spec.steps + 1):
        # The first step has no way it came from.
        weight = 1.0 if index == 1 else _INERTIA
        ahead = within.project(within.move(current, gradient, search.share))
        moved = current + weight * (ahead - current) + (1 - weight) * (current - before)
        before, current = current, within.project(moved)
        if index == spec.steps:
            search.note(current, gradient, slope.worth(current))
            break
        gradient, worth = slope.gradient_and_worth(current, index / spec.steps)
        search.note(current, gradient, worth)
        if search.is_checkpoint(index):
            current, gradient = search.halve(current, gradient)
    return within.round(search.returned)


class _Search:
    """What is remembered on the way: the best point per image, and how well the step size works.

    Attributes:
        returned: the most successful point per image; ties go to the higher value.
        share: step size per image, `(B, 1, 1, 1)`, in radii.
    """

    def __init__(self, points: Tensor, gradient: Tensor, worth: Worth, steps: int) -> None:
        self.returned = points
        self.share = torch.full((len(points), 1, 1, 1), 2.0, device=points.device)
        self._best, self._best_gradient = points, gradient
        self._best_value = self._last_value = self._value_at_checkpoint = worth.value
        self._success, self._returned_value = worth.success, worth.value
        self._improved = torch.zeros_like(worth.value)
        self._halved = torch.ones_like(worth.value, dtype=torch.bool)
        self._checkpoints = checkpoints(steps)
        self._last_checkpoint = 0

    def note(self, points: Tensor, gradient: Tensor, worth: Worth) -> None:
        """Remember a point where it beats those before."""
        self._improved = self._improved + (worth.value > self._last_value)
        self._last_value = worth.value
        higher = worth.value > self._best_value
        self._best = _choose(higher, points, self._best)
        self._best_gradient = _choose(higher, gradient, self._best_gradient)
        self._best_value = torch.maximum(worth.value, self._best_value)
        tie = (worth.success == self._success) & (worth.value > self._returned_value)
        wins = (worth.success > self._success) | tie
        self.returned = _choose(wins, points, self.returned)
        self._success = torch.where(wins, worth.success, self._success)
        self._returned_value = torch.where(wins, worth.value, self._returned_value)

    def is_checkpoint(self, index: int) -> bool:
        """Return whether the step size is judged after step `index`."""
        return index in self._checkpoints

    def halve(self, points: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Halve the step where it stopped helping; such images go on from their best point."""
        index = next(i for i in self._checkpoints if i > self._last_checkpoint)
        period = index - self._last_checkpoint
        few = self._improved < _IMPROVING * period
        stuck = ~self._halved & (self._best_value <= self._value_at_checkpoint)
        halve = few | stuck
        self.share = torch.where(halve.view(-1, 1, 1, 1), self.share / 2, self.share)
        self._halved, self._value_at_checkpoint = halve, self._best_value
        self._improved = torch.zeros_like(self._improved)
        self._last_checkpoint = index
        return _choose(halve, self._best, points), _choose(halve, self._best_gradient, gradient)


def checkpoints(steps: int) -> list[int]:
    """Return after which steps the step size is judged.

    The first period is 22 % of the steps; each is 3 % shorter than the one before, down to 6 %.
    """
    period, shortest, shrink = (max(int(part * steps), 1) for part in (0.22, 0.06, 0.03))
    judged, at = [], period
    while at < steps:
        judged.append(at)
        period = max(period - shrink, shortest)
        at += period
    return judged


def _choose(where: Tensor, points: Tensor, others: Tensor) -> Tensor:
    return torch.where(where.view(-1, 1, 1, 1), points, others)
