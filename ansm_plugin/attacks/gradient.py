"""Gradient attacks in a ball: one loop for FGSM, PGD, MI-, NI-, VMI- and DI-FGSM.

`AttackSpec` says how. Everything happens in the pixel range [0, 1]; `forward` maps pixels
`(B, 3, H, W)` to mask logits `(B, 1, H, W)`. Gradients come from `torch.autograd.grad`, so no
parameter ever receives one.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ansm_plugin.attacks.ball import Ball, ball
from ansm_plugin.attacks.slope import Slope
from ansm_plugin.attacks.spec import AttackSpec, Forward, Transform
from ansm_plugin.errors import ConfigError

_NEIGHBOURHOOD = 1.5  # reach of VMI-FGSM's neighbours in radii, its authors' choice


def linf_attack(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    spec: AttackSpec,
    *,
    generator: torch.Generator | None = None,
    transform: Transform | None = None,
    draws: int = 1,
) -> Tensor:
    """Return attacked images, rounded to 8 bit and within `eps` of `images`.

    The plain loop in the L-infinity ball; `run_attack` takes every attack.

    Args:
        forward: pixels -> mask logits; its modules must be in eval mode.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        eps: radius of the ball in pixel units (8 grey levels are 8 / 255), or one per image `(B,)`.
        spec: the attack.
        generator: source of the random start and of `transform`; the global one by default.
        transform: random differentiable change of the images, such as `augment.channel`, that
            the attack expects on the way (EOT, Athalye et al., ICML 2018).
        draws: how many transforms are averaged in each step.

    Raises:
        LocalizerError: no gradient reaches the image (`no_grad` inside the localizer's forward).
        ConfigError: the attack is not a plain loop in the L-infinity ball, or eps is out of range.
    """
    plain = AttackSpec()
    for field in ("method", "norm", "region", "restarts"):
        if getattr(spec, field) != getattr(plain, field):
            raise ConfigError(
                f"linf_attack was given {field}={getattr(spec, field)!r}; it knows "
                f"{getattr(plain, field)!r} only. Call run_attack, which takes every attack."
            )
    slope = Slope(
        forward=forward,
        masks=masks.detach().float(),
        objective=spec.objective,
        generator=generator,
        transform=transform,
        draws=draws,
        diversity=spec.diversity,
    )
    return climb(slope, ball(images, eps), spec)


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


def first_point(within: Ball, spec: AttackSpec, generator: torch.Generator | None) -> Tensor:
    """Return where an attack starts: a random point of the ball or its centre."""
    return within.start(generator) if spec.random_start else within.images


def _neighbours(
    slope: Slope, points: Tensor, within: Ball, spec: AttackSpec, elapsed: float
) -> Tensor:
    """Return the mean gradient at random points around `points`."""
    total = torch.zeros_like(points)
    for _ in range(spec.neighbours):
        noise = torch.rand(points.shape, generator=slope.generator, dtype=points.dtype)
        reach = _NEIGHBOURHOOD * within.radius
        total += slope.gradient(points + reach * (2 * noise.to(points.device) - 1), elapsed)
    return total / spec.neighbours
