"""One entry for every attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ansm_plugin.attacks.apgd import apgd
from ansm_plugin.attacks.ball import Ball, ball, draw_region
from ansm_plugin.attacks.gradient import climb
from ansm_plugin.attacks.slope import Slope
from ansm_plugin.attacks.spec import AttackSpec, Expectation
from ansm_plugin.errors import ImageError
from ansm_plugin.localizer.call import Forward

_METHODS: dict[str, Callable[[Slope, Ball, AttackSpec, Tensor | None], Tensor]] = {
    "steps": climb,
    "apgd": apgd,
}


def run_attack(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    spec: AttackSpec,
    *,
    generator: torch.Generator | None = None,
    start: Tensor | None = None,
    expectation: Expectation | None = None,
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
        start: attacked images to start from, such as those made against the bare localizer;
            projected into the ball. The first of several restarts begins there.
        expectation: random change of the images that the attack expects on the way.

    Raises:
        LocalizerError: no gradient reaches the image (`no_grad` inside the localizer's forward).
        ConfigError: eps is out of range.
        ImageError: `start` does not fit the images.
    """
    masks = masks.detach().float()
    region = draw_region(spec.region, masks, generator)
    within = ball(images, eps, spec.norm, region)
    slope = Slope(
        forward=forward,
        masks=masks,
        objective=spec.objective,
        generator=generator,
        expectation=expectation,
        diversity=spec.diversity,
    )
    first = None if start is None else within.project(_same_shape(start, within.images))
    run = _METHODS[spec.method]
    attacked = run(slope, within, spec, first)
    for _ in range(spec.restarts - 1):
        attacked = _more_successful(slope, attacked, run(slope, within, spec, None))
    return attacked


def _more_successful(slope: Slope, first: Tensor, second: Tensor) -> Tensor:
    wins = slope.worth(second).success > slope.worth(first).success
    return torch.where(wins.view(-1, 1, 1, 1), second, first)


def _same_shape(start: Tensor, images: Tensor) -> Tensor:
    if start.shape != images.shape:
        raise ImageError(
            f"start has shape {tuple(start.shape)}; it needs that of the images, "
            f"{tuple(images.shape)}."
        )
    return start.detach().to(images)
