"""One entry for every attack, and the worst case over a set of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks.apgd import apgd
from ansm_plugin.attacks.ball import Ball, ball, draw_region
from ansm_plugin.attacks.gradient import climb
from ansm_plugin.attacks.objectives import f1
from ansm_plugin.attacks.slope import Slope
from ansm_plugin.attacks.spec import AttackSpec, Forward, Transform
from ansm_plugin.errors import ConfigError, ImageError

Score = Callable[[Tensor, Tensor], Tensor]
_METHODS: dict[str, Callable[[Slope, Ball, AttackSpec, Tensor | None], Tensor]] = {
    "steps": climb,
    "apgd": apgd,
}


class WorstCase(NamedTuple):
    """Attacked images `(B, 3, H, W)`, and the index of the attack that made each, `(B,)`."""

    attacked: Tensor
    which: Tensor


def run_attack(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    spec: AttackSpec,
    *,
    generator: torch.Generator | None = None,
    transform: Transform | None = None,
    draws: int = 1,
    start: Tensor | None = None,
    region: Tensor | None = None,
) -> Tensor:
    """Return attacked images, rounded to 8 bit and within the ball of `spec` around `images`.

    Args:
        forward: pixels -> mask logits; its modules must be in eval mode.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        eps: radius of the ball in pixel units (8 grey levels are 8 / 255), or one per image
            `(B,)`; in the l2 norm the root mean square change.
        spec: the attack.
        generator: source of all randomness of the attack; the global one by default.
        transform: random differentiable change of the images, such as `augment.channel`, that
            the attack expects on the way (EOT, Athalye et al., ICML 2018).
        draws: how many transforms are averaged in each step.
        start: attacked images to start from, such as those made against the bare localizer;
            projected into the ball. The first of several restarts begins there.
        region: `(B, 1, H, W)`: noise is allowed where it is above 0; by default what `spec` says.

    Raises:
        LocalizerError: no gradient reaches the image (`no_grad` inside the localizer's forward).
        ConfigError: eps is out of range.
        ImageError: `start` or `region` does not fit the images.
    """
    masks = masks.detach().float()
    region = draw_region(spec.region, masks, generator) if region is None else region
    within = ball(images, eps, spec.norm, region)
    slope = Slope(
        forward=forward,
        masks=masks,
        objective=spec.objective,
        generator=generator,
        transform=transform,
        draws=draws,
        diversity=spec.diversity,
    )
    first = None if start is None else within.project(_same_shape(start, within.images))
    run = _METHODS[spec.method]
    attacked = run(slope, within, spec, first)
    for _ in range(spec.restarts - 1):
        attacked = _more_successful(slope, attacked, run(slope, within, spec, None))
    return attacked


def worst_case(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    specs: Iterable[AttackSpec],
    score: Score = f1,
    *,
    generator: torch.Generator | None = None,
) -> WorstCase:
    """Return per image the attacked version that leaves the lowest score.

    The attacker's own choice: the mean of these minima is below the minimum of the means.

    Args:
        forward: pixels -> mask logits; its modules must be in eval mode.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        eps: radius as in `run_attack`.
        specs: the attacks; the first of equals counts.
        score: logits and masks -> one value per image, lower is worse; F1 by default.
        generator: source of all randomness of the attacks.

    Raises:
        ConfigError: no attack was given.
    """
    worst: WorstCase | None = None
    lowest = torch.empty(0)
    for index, spec in enumerate(specs):
        attacked = run_attack(forward, images, masks, eps, spec, generator=generator)
        with torch.no_grad():
            found = score(forward(attacked), masks.float())
        if worst is None:
            worst = WorstCase(attacked, torch.zeros_like(found, dtype=torch.long))
            lowest = found
        wins = found < lowest
        worst = WorstCase(
            torch.where(wins.view(-1, 1, 1, 1), attacked, worst.attacked),
            torch.where(wins, index, worst.which),
        )
        lowest = torch.where(wins, found, lowest)
    if worst is None:
        raise ConfigError("worst_case was given no attack; it needs at least one.")
    return worst


def _more_successful(slope: Slope, first: Tensor, second: Tensor) -> Tensor:
    wins = slope.scores(second).success > slope.scores(first).success
    return torch.where(wins.view(-1, 1, 1, 1), second, first)


def _same_shape(start: Tensor, images: Tensor) -> Tensor:
    if start.shape != images.shape:
        raise ImageError(
            f"start has shape {tuple(start.shape)}; it needs that of the images, "
            f"{tuple(images.shape)}."
        )
    return start.detach().to(images)
