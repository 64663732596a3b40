"""Attacks and objectives as somebody else would write them: good ones, and one of each mistake."""

from __future__ import annotations

import torch
from torch import Tensor

from ansm_plugin.attacks import AttackSpec, Forward

CALLS: list[dict[str, object]] = []  # what `curious` was handed


def signs(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """FGSM, as short as it can be."""
    leaf = pixels.requires_grad_(True)
    loss = (forward(leaf) * (1 - 2 * masks)).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert leaf.grad is not None
    return (leaf + eps * leaf.grad.sign()).clamp(0, 1)


def walk(
    pixels: Tensor,
    masks: Tensor,
    eps: Tensor,
    forward: Forward,
    generator: torch.Generator,
    steps: int = 3,
) -> Tensor:
    """Random signs, one per step, of the global generator."""
    noise = sum(torch.randn_like(pixels) for _ in range(steps))
    return (pixels + eps * torch.as_tensor(noise).sign()).clamp(0, 1)


def curious(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """Note the arguments and spoil them."""
    seen = {"eps": eps.clone(), "masks": masks.clone(), "grad": torch.is_grad_enabled()}
    CALLS.append({**seen, "pixels": pixels.clone(), "draw": torch.rand((), generator=generator)})
    answer = pixels.clone()
    for given in (pixels, masks, eps):
        given.zero_()
    return answer


def too_far(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """Leave the ball: eps is taken for a share of 255."""
    return (pixels + 2 * eps).clamp(0, 1)


def unclamped(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """Leave [0, 1]."""
    return pixels - 2


def not_finite(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """Divide by 0."""
    return pixels / 0 * 0


def smaller(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """Return another shape."""
    return pixels[..., 1:]


def nothing(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> None:
    """Forget to return."""


def of_two(pixels: Tensor, masks: Tensor) -> Tensor:
    """Take fewer arguments than an attack is handed."""
    return pixels


def broken(
    pixels: Tensor, masks: Tensor, eps: Tensor, forward: Forward, generator: torch.Generator
) -> Tensor:
    """Fail."""
    raise KeyError("on purpose")


def brightness(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """An objective: wrong logits, summed."""
    return (logits * (1 - 2 * masks)).sum((1, 2, 3))


def scalar(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """An objective that sums over images, too."""
    return logits.sum()


def detached(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """An objective without a gradient."""
    return logits.detach().sum((1, 2, 3))


def rooted(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """An objective whose gradient is infinite at 0."""
    return (logits - logits.detach()).square().sum((1, 2, 3)).sqrt()


BRIGHT = AttackSpec(objective="support.foreign_attacks:brightness", steps=5, random_start=True)
IN_L2 = AttackSpec(norm="l2")
NUMBER = 7


class Attacker:
    """A class is no attack."""
