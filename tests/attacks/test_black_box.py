"""The attack without a gradient: it counts, stays in the ball, and does not beat a gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.errors import ConfigError

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py


def attack(victim: Victim, queries: int, **options: Any) -> Tensor:
    """Run the search from a seeded start."""
    generator = torch.Generator().manual_seed(0)
    return square_attack(
        victim.forward, victim.images, victim.masks, EPS,
        queries=queries, generator=generator, **options,
    )  # fmt: skip


@pytest.mark.parametrize("queries", [1, 22, 60])
def test_as_many_queries_are_made_as_asked_for(victim: Victim, queries: int) -> None:
    asked = 0

    def counting(images: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        assert len(images) == len(victim.images)
        return victim.forward(images)

    square_attack(counting, victim.images, victim.masks, EPS, queries=queries)
    assert asked == queries


def test_it_needs_no_gradient_and_does_harm(victim: Victim) -> None:
    def deaf(images: Tensor) -> Tensor:
        with torch.no_grad():
            return victim.forward(images)

    generator = torch.Generator().manual_seed(0)
    attacked = square_attack(
        deaf, victim.images, victim.masks, EPS, queries=300, generator=generator
    )
    assert victim.f1(attacked) < victim.f1(victim.images) - 0.05
    assert torch.equal((255 * attacked).round() / 255, attacked)
    assert (attacked - victim.images).abs().max() <= EPS + 1e-6


def test_more_queries_do_not_hurt_less(victim: Victim) -> None:
    few, many = (victim.f1(attack(victim, queries)) for queries in (22, 400))
    assert many <= few


def test_a_gradient_is_not_beaten(victim: Victim) -> None:
    spec = attack_spec("apgd-dice", steps=20)
    white = run_attack(victim.forward, victim.images, victim.masks, EPS, spec)
    assert victim.f1(white) <= victim.f1(attack(victim, 300))


def test_the_generator_decides(victim: Victim) -> None:
    state = torch.get_rng_state()
    assert torch.equal(attack(victim, 30), attack(victim, 30))
    assert torch.equal(state, torch.get_rng_state())


def test_too_few_queries_and_wrong_names_are_refused(victim: Victim) -> None:
    with pytest.raises(ConfigError, match="queries is 0"):
        attack(victim, 0)
    with pytest.raises(ConfigError, match="unknown objective"):
        attack(victim, 9, objective="f2")
