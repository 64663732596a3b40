"""APGD: its schedule, what it returns, and that it beats PGD at equal cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.apgd import checkpoints

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py


def attack(victim: Victim, name: str, steps: int, seed: int = 0) -> Tensor:
    """Run an attack from a seeded start."""
    generator = torch.Generator().manual_seed(seed)
    spec = attack_spec(name, steps=steps)
    return run_attack(victim.forward, victim.images, victim.masks, EPS, spec, generator=generator)


def test_checkpoints_are_those_of_the_paper() -> None:
    """Croce and Hein, section 3.1: p_1 = 0.22, then p + max(p - p_before - 0.03, 0.06)."""
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == []
    assert checkpoints(4) == [1, 2, 3]


@pytest.mark.parametrize("objective", ["", "-cospgd", "-margin", "-js", "-dice"])
def test_apgd_is_at_least_as_strong_as_pgd_with_as_many_gradients(
    victim: Victim, objective: str
) -> None:
    twin = objective.removeprefix("-") or "pgd"
    adaptive = victim.f1(attack(victim, f"apgd{objective}", steps=20))
    assert adaptive <= victim.f1(attack(victim, twin, steps=20)) + 0.005


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_apgd_takes_as_many_gradients_as_steps(victim: Victim, steps: int) -> None:
    calls = {"with gradient": 0, "without": 0}

    def counting(images: Tensor) -> Tensor:
        calls["with gradient" if torch.is_grad_enabled() else "without"] += 1
        return victim.forward(images)

    run_attack(counting, victim.images, victim.masks, EPS, attack_spec("apgd", steps=steps))
    assert calls == {"with gradient": steps, "without": 1}


def test_apgd_returns_the_best_point_and_not_the_last() -> None:
    """A target that moves away once it was reached: only the first point is worth keeping."""
    seen: list[Tensor] = []

    def fading(images: Tensor) -> Tensor:
        seen.append(images.detach().clone())
        return images.mean(1, keepdim=True) + (100.0 if len(seen) > 1 else -100.0)

    images, masks = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, 1, 4, 4)
    attacked = run_attack(
        fading, images, masks, EPS, attack_spec("apgd", steps=4),
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    torch.testing.assert_close(attacked, seen[0], atol=0.6 / 255, rtol=0)


def test_images_of_a_batch_do_not_influence_each_other(victim: Victim) -> None:
    spec = attack_spec("apgd-margin", steps=12)
    start = victim.images + 0.01
    both = run_attack(victim.forward, victim.images, victim.masks, EPS, spec, start=start)
    alone = [
        run_attack(victim.forward, i[None], m[None], EPS, spec, start=s[None])
        for i, m, s in zip(victim.images, victim.masks, start, strict=True)
    ]
    for image, (one,) in zip(both, alone, strict=True):
        # Batches of another size sum in another order: a few signs of tiny gradients differ.
        assert (image != one).float().mean() < 0.05


def test_more_steps_do_not_hurt_less(victim: Victim) -> None:
    few, many = (victim.f1(attack(victim, "apgd-margin", steps)) for steps in (3, 30))
    assert many <= few + 0.005
