"""One entry for every attack."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ansm_plugin.attacks.answers import Answers
from ansm_plugin.attacks.apgd import apgd
from ansm_plugin.attacks.ball import Ball, ball, draw_region
from ansm_plugin.attacks.door import (
    attackable,
    require_forgeries,
    require_generator,
    require_start,
)
from ansm_plugin.attacks.foreign import Call, call_attack, is_foreign
from ansm_plugin.attacks.gradient import climb
from ansm_plugin.attacks.seeds import Source
from ansm_plugin.attacks.slope import Slope
from ansm_plugin.attacks.spec import AttackSpec, Expectation, ForeignAttack, require_startable
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.system.device import tf32

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
    generator: Source = None,
    start: Tensor | None = None,
    expectation: Expectation | None = None,
) -> Tensor:
    """Return attacked images, rounded to 8 bit and within the ball of `spec` around `images`.

    Args:
        forward: pixels -> mask logits `(B, 1, H, W)`. Modules that it shows (`modules_behind`: a
            module itself, a `mask_forward`, a lambda around a model) are put in eval mode for the
            attack, with a warning; those of an opaque callable must be in eval mode.
        images: floats `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}; booleans and integers will do.
        eps: radius of the ball in pixel units (8 grey levels are 8 / 255), or one per image
            `(B,)`; in the l2 norm the root mean square change.
        spec: the attack.
        generator: source of all randomness of the attack, on the CPU; the global one by default.
            With a list of one for each image its noise is the same in a batch of any size.
        start: attacked images to start from, such as those made against the bare localizer;
            projected into the ball. The first of several restarts begins there.
        expectation: random change of the images that the attack expects on the way.

    Works under `torch.no_grad` and `torch.inference_mode` too.

    Raises:
        LocalizerError: no gradient reaches the image (`no_grad` inside the localizer's forward),
            or what comes out are no finite mask logits.
        ConfigError: eps or the generator cannot be used.
        ImageError: images, masks or `start` are not as said above, or do not fit one another.
    """
    require_generator(generator, images)
    with attackable(forward):
        images, masks = require_forgeries(images, masks)
        within = ball(images, eps, spec.norm, draw_region(spec.region, masks, generator))
        first = None if start is None else within.project(require_start(start, within.images))
        slope = _slope(forward, masks, spec, generator, expectation)
        with tf32(images.device, on=True):
            return _searched(slope, within, spec, first)


def _slope(
    forward: Forward,
    masks: Tensor,
    spec: AttackSpec,
    generator: Source,
    expectation: Expectation | None,
) -> Slope:
    return Slope(
        forward=forward,
        masks=masks,
        objective=spec.objective,
        generator=generator,
        expectation=expectation,
        diversity=spec.diversity,
        answers=Answers(forward),
    )


def _searched(slope: Slope, within: Ball, spec: AttackSpec, first: Tensor | None) -> Tensor:
    """Return the most successful of the runs that the spec asks for."""
    run = _foreign if isinstance(spec, ForeignAttack) else _METHODS[spec.method]
    attacked = run(slope, within, spec, first)
    for _ in range(spec.restarts - 1):
        attacked = _more_successful(slope, attacked, run(slope, within, spec, None))
    _require_finite(slope)
    return attacked


def _require_finite(slope: Slope) -> None:
    """Raise LocalizerError for NaN; another package's objective may be whose mistake that is."""
    try:
        slope.answers.require_finite()
    except LocalizerError as error:
        if is_foreign(slope.objective):
            raise LocalizerError(f"{error} Or objective {slope.objective} makes it so.") from error
        raise


def _foreign(slope: Slope, within: Ball, spec: AttackSpec, start: Tensor | None) -> Tensor:
    """Return images attacked by a function of another package, rounded to 8 bit."""
    assert isinstance(spec, ForeignAttack)
    if start is not None or slope.expectation is not None:
        require_startable("a warm start or EOT", [spec.name])
    steps = spec.steps if spec.counts_steps else None
    radius = within.radius.expand(len(within.images), 1, 1, 1)
    whole = (within.images, slope.masks, radius)
    if isinstance(slope.generator, Sequence):  # a function draws from one: one image at a time
        each = zip(*(torch.split(part, 1) for part in whole), slope.generator, strict=True)
        calls = [Call(i, m, eps, slope.forward, own) for i, m, eps, own in each]
    else:
        calls = [Call(*whole, slope.forward, slope.generator)]
    found = [call_attack(spec.function, spec.origin, call, steps) for call in calls]
    return within.round(within.project(torch.cat(found)))


def _more_successful(slope: Slope, first: Tensor, second: Tensor) -> Tensor:
    wins = slope.worth(second).success > slope.worth(first).success
    return torch.where(wins.view(-1, 1, 1, 1), second, first)
