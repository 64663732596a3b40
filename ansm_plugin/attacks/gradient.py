"""Gradient attacks in a ball: one loop for FGSM, PGD, MI-, NI-, VMI- and DI-FGSM.

`AttackSpec` says how. Everything happens in the pixel range [0, 1], on images `(B, 3, H, W)`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ansm_plugin.attacks.ball import Ball
from ansm_plugin.attacks.seeds import Source, uniform
from ansm_plugin.attacks.slope import Slope
from ansm_plugin.attacks.spec import AttackSpec

_NEIGHBOURHOOD = 1.5  # reach of VMI-FGSM's neighbours in radii, its authors' choice


def climb(slope: Slope, within: Ball, spec: AttackSpec, start: Tensor | None = None) -> Tensor:
    """Return the end of `spec.steps` steps up the slope, rounded to 8 bit.

    Args:
        slope: what is climbed.
        within: where.
        spec: how.
        start: first point; by default what `spec` says.
    """
    current = first_point(within, spec, slope.generator) if start is None else start
    velocity = torch.zeros_like(current)
    variance = torch.zeros_like(current)
    for index in range(spec.steps):
        elapsed = index / spec.steps
        seen = current
        if spec.nesterov:
            seen = current + spec.relative_step * within.radius * spec.momentum * velocity
        gradient = slope.gradient(seen, elapsed)
        step = gradient
        if spec.neighbours:
            step = gradient + variance
            variance = _neighbours(slope, current, within, spec, elapsed) - gradient
        if spec.momentum:
            scale = step.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-20)
            velocity = spec.momentum * velocity + step / scale
            step = velocity
        current = within.project(within.move(current, step, spec.relative_step))
    return within.round(current)


def first_point(within: Ball, spec: AttackSpec, generator: Source) -> Tensor:
    """Return where an attack starts: a random point of the ball or its centre."""
    return within.start(generator) if spec.random_start else within.images


def _neighbours(
    slope: Slope, points: Tensor, within: Ball, spec: AttackSpec, elapsed: float
) -> Tensor:
    """Return the mean gradient at random points around `points`."""
    total = torch.zeros_like(points)
    for _ in range(spec.neighbours):
        noise = uniform(points.shape, slope.generator, points.dtype)
        reach = _NEIGHBOURHOOD * within.radius
        total += slope.gradient(points + reach * (2 * noise.to(points.device) - 1), elapsed)
    return total / spec.neighbours
