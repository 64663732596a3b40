"""Gradient attacks in the L-infinity ball: FGSM, PGD, MI-FGSM.

One loop, `linf_attack`, serves all of them; `AttackSpec` says how. Everything happens in the
pixel range [0, 1]; `forward` maps pixels `(B, 3, H, W)` to mask logits `(B, 1, H, W)`. Gradients
come from `torch.autograd.grad`, so no parameter ever receives one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ansm_plugin.attacks.objectives import OBJECTIVES, objective
from ansm_plugin.errors import ConfigError, LocalizerError, unknown_name

Forward = Callable[[Tensor], Tensor]
Transform = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class AttackSpec:
    """How one attack searches the ball.

    Attributes:
        objective: name in `OBJECTIVES`, maximised.
        steps: number of gradient steps.
        step_share: step size as a share of eps; None is 2.5 / steps (Madry et al., ICLR 2018), for
            MI-FGSM too: its own 1 / steps never leaves the way it took first and hurts less.
        momentum: decay of the accumulated gradient (MI-FGSM, Dong et al., CVPR 2018); 0 is none.
        random_start: whether to start at a uniform point of the ball instead of its centre.
    """

    objective: str = "bce"
    steps: int = 10
    step_share: float | None = None
    momentum: float = 0.0
    random_start: bool = False

    def __post_init__(self) -> None:
        """Raise ConfigError for an unknown objective or a step count below one."""
        objective(self.objective)
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; an attack needs at least 1.")

    @property
    def relative_step(self) -> float:
        """Step size as a share of eps."""
        if self.step_share is not None:
            return self.step_share
        return 2.5 / self.steps


ATTACKS: dict[str, AttackSpec] = {
    "fgsm": AttackSpec(steps=1, step_share=1.0),
    "pgd": AttackSpec(random_start=True),
    "mifgsm": AttackSpec(momentum=1.0),
    "cospgd": AttackSpec(objective="cospgd", random_start=True),
    "margin": AttackSpec(objective="margin", random_start=True),
    "hide": AttackSpec(objective="hide", random_start=True),
}


def attack_spec(
    name: str, *, steps: int | None = None, step_share: float | None = None
) -> AttackSpec:
    """Return an attack by name, or raise ConfigError with the nearest names.

    `steps` and `step_share` replace those of the attack, except of the one-step FGSM.
    """
    if name not in ATTACKS:
        raise ConfigError(unknown_name("attack", name, ATTACKS))
    spec = ATTACKS[name]
    if name == "fgsm":
        return spec
    return replace(
        spec,
        steps=spec.steps if steps is None else steps,
        step_share=spec.step_share if step_share is None else step_share,
    )


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
    """
    images, masks = images.detach().float(), masks.detach().float()
    radius = torch.as_tensor(eps, dtype=images.dtype, device=images.device).view(-1, 1, 1, 1)
    # Whole grey levels: an attack that works in float only is not an image.
    low = _to_8_bit((images - radius).clamp(0, 1), torch.ceil)
    high = _to_8_bit((images + radius).clamp(0, 1), torch.floor)
    current = _start(images, radius, spec, generator)
    velocity = torch.zeros_like(images)
    for index in range(spec.steps):
        gradient = torch.stack(
            [
                _gradient(view, current, masks, spec.objective, index / spec.steps)
                for view in _views(forward, transform, draws, generator)
            ]
        ).sum(0)
        if spec.momentum:
            scale = gradient.abs().mean((1, 2, 3), keepdim=True).clamp_min(1e-20)
            velocity = spec.momentum * velocity + gradient / scale
            gradient = velocity
        moved = current + spec.relative_step * radius * gradient.sign()
        current = torch.minimum(torch.maximum(moved, images - radius), images + radius).clamp(0, 1)
    rounded = _to_8_bit(current, torch.round)
    return torch.minimum(torch.maximum(rounded, low), high)


def _views(
    forward: Forward, transform: Transform | None, draws: int, generator: torch.Generator | None
) -> list[Forward]:
    """Return what the attack differentiates: the localizer, or it behind `draws` transforms."""
    if transform is None:
        return [forward]
    source = generator or torch.default_generator
    return [lambda images: forward(transform(images, source))] * draws


def _start(
    images: Tensor, radius: Tensor, spec: AttackSpec, generator: torch.Generator | None
) -> Tensor:
    if not spec.random_start:
        return images
    noise = torch.rand(images.shape, generator=generator, dtype=images.dtype)
    return (images + radius * (2 * noise.to(images.device) - 1)).clamp(0, 1)


def _gradient(
    forward: Forward, images: Tensor, masks: Tensor, name: str, progress: float
) -> Tensor:
    """Return the gradient of the objective with respect to the images, in fp32."""
    with torch.enable_grad():
        leaf = images.detach().requires_grad_(True)
        logits = forward(leaf)
        if not logits.requires_grad:
            raise LocalizerError(
                "no gradient reaches the image: the localizer runs under no_grad or detaches its "
                "output. Attacks and training need a differentiable forward; remove the no_grad."
            )
        value = OBJECTIVES[name](logits.float(), masks, progress).sum()
        (gradient,) = torch.autograd.grad(value, leaf)
    return gradient.float()


def _to_8_bit(images: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    # The small slack keeps a value that is a whole grey level up to float error at that level.
    slack = -1e-3 if rounding is torch.ceil else 1e-3 if rounding is torch.floor else 0.0
    return rounding(images * 255 + slack).clamp(0, 255) / 255
