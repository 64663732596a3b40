"""Attacks without a gradient: they count, stay in the ball, and do not beat a gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import BlackBox, nes_attack, square_attack
from ansm_plugin.errors import ConfigError

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py
Attack = Callable[..., BlackBox]
BOTH = pytest.mark.parametrize("attack", [square_attack, nes_attack])


def run(victim: Victim, attack: Attack, queries: int, **options: Any) -> BlackBox:
    """Run an attack from a seeded start."""
    generator = torch.Generator().manual_seed(0)
    return attack(
        victim.forward, victim.images, victim.masks, EPS,
        queries=queries, generator=generator, **options,
    )  # fmt: skip


@BOTH
@pytest.mark.parametrize("queries", [22, 60])
def test_queries_are_counted(victim: Victim, attack: Attack, queries: int) -> None:
    asked = 0

    def counting(images: Tensor) -> Tensor:
        nonlocal asked
        asked += 1
        assert len(images) == len(victim.images)
        return victim.forward(images)

    found = attack(counting, victim.images, victim.masks, EPS, queries=queries)
    assert found.queries == asked <= queries


@BOTH
def test_black_boxes_need_no_gradient_and_do_harm(victim: Victim, attack: Attack) -> None:
    def deaf(images: Tensor) -> Tensor:
        with torch.no_grad():
            return victim.forward(images)

    generator = torch.Generator().manual_seed(0)
    found = attack(
        deaf, victim.images, victim.masks, EPS, queries=300, generator=generator
    ).attacked
    assert victim.f1(found) < victim.f1(victim.images) - 0.05
    assert torch.equal((255 * found).round() / 255, found)
    assert (found - victim.images).abs().max() <= EPS + 1e-6


@BOTH
def test_more_queries_do_not_hurt_less(victim: Victim, attack: Attack) -> None:
    few, many = (victim.f1(run(victim, attack, n).attacked) for n in (22, 400))
    assert many <= few


@BOTH
def test_a_gradient_is_not_beaten(victim: Victim, attack: Attack) -> None:
    spec = attack_spec("apgd-dice", steps=20)
    white = run_attack(victim.forward, victim.images, victim.masks, EPS, spec)
    assert victim.f1(white) <= victim.f1(run(victim, attack, 300).attacked)


@BOTH
def test_the_generator_decides(victim: Victim, attack: Attack) -> None:
    state = torch.get_rng_state()
    assert torch.equal(run(victim, attack, 30).attacked, run(victim, attack, 30).attacked)
    assert torch.equal(state, torch.get_rng_state())


def test_too_few_queries_are_refused(victim: Victim) -> None:
    with pytest.raises(ConfigError, match="queries is 0"):
        run(victim, square_attack, 0)
    with pytest.raises(ConfigError, match="at least 22"):
        run(victim, nes_attack, 21)
    with pytest.raises(ConfigError, match="pairs is 0"):
        run(victim, nes_attack, 21, pairs=0)
    with pytest.raises(ConfigError, match="unknown objective"):
        run(victim, square_attack, 9, objective="f2")
