"""Attacks stay in the ball and on the 8-bit grid, do harm, and touch nothing else."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import (
    ATTACKS,
    AttackSpec,
    Expectation,
    attack_spec,
    objective,
    run_attack,
)
from ansm_plugin.attacks.objectives import value
from ansm_plugin.errors import ConfigError, LocalizerError

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py
FIRST_SIX = ("fgsm", "pgd", "mifgsm", "cospgd", "margin", "hide")


def attack(victim: Victim, name: str, eps: float | Tensor = EPS, seed: int = 0) -> Tensor:
    """Run an attack of five steps."""
    generator = torch.Generator().manual_seed(seed)
    spec = attack_spec(name, steps=5)
    return run_attack(victim.forward, victim.images, victim.masks, eps, spec, generator=generator)


def test_the_attacks_are_named() -> None:
    others = "segpgd balanced mce js dice nifgsm vmifgsm difgsm pgd-l2 region patch"
    adaptive = "apgd apgd-cospgd apgd-margin apgd-js apgd-dice apgd-hide apgd-l2"
    assert set(ATTACKS) == {*FIRST_SIX, *others.split(), *adaptive.split()}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("eps_255", [1, 8, 2.5])
def test_attacked_images_are_8_bit_images_within_the_ball(
    victim: Victim, name: str, eps_255: float
) -> None:
    attacked = attack(victim, name, eps_255 / 255)
    levels = attacked * 255
    assert torch.equal(levels.round() / 255, attacked)
    assert 0 <= attacked.min() <= attacked.max() <= 1
    noise = levels - victim.images * 255
    if ATTACKS[name].norm == "linf":
        assert noise.abs().max() <= eps_255 + 1e-3
    else:
        assert noise.square().mean((1, 2, 3)).sqrt().max() <= eps_255 + 1e-3
    assert not torch.equal(attacked, victim.images)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_raises_its_objective(victim: Victim, name: str) -> None:
    with torch.no_grad():
        found = [victim.forward(images) for images in (victim.images, attack(victim, name))]
    values = [value(ATTACKS[name].objective, logits, victim.masks) for logits in found]
    assert (values[1] > values[0]).all()


@pytest.mark.parametrize("name", ["cospgd", "hide"])
def test_attack_raises_the_objective_itself(victim: Victim, name: str) -> None:
    with torch.no_grad():
        before = objective(name)(victim.forward(victim.images), victim.masks, 0.0)
        after = objective(name)(victim.forward(attack(victim, name)), victim.masks, 0.0)
    assert (after > before).all()


def test_the_victim_works_until_it_is_attacked(victim: Victim) -> None:
    assert victim.f1(victim.images) > 0.9
    for name in ("pgd", "mifgsm", "cospgd"):
        assert victim.f1(attack(victim, name)) < 0.6


@pytest.mark.parametrize("name", ["hide", "apgd-hide"])
def test_hide_empties_the_mask(victim: Victim, name: str) -> None:
    with torch.no_grad():
        before = (victim.forward(victim.images) > 0).float().mean()
        after = (victim.forward(attack(victim, name)) > 0).float().mean()
    assert after < 0.5 * before


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_of_the_localizer_changes(victim: Victim, name: str) -> None:
    state = copy.deepcopy(victim.model.state_dict())
    modes = [m.training for m in victim.model.modules()]
    images, masks = victim.images.clone(), victim.masks.clone()
    attack(victim, name)
    assert all(torch.equal(state[k], v) for k, v in victim.model.state_dict().items())
    assert [m.training for m in victim.model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in victim.model.parameters())
    assert torch.equal(images, victim.images)
    assert torch.equal(masks, victim.masks)


def test_attacking_works_inside_no_grad_and_returns_no_graph(victim: Victim) -> None:
    with torch.no_grad():
        attacked = attack(victim, "pgd")
    assert not attacked.requires_grad
    assert not torch.equal(attacked, victim.images)


def test_the_generator_decides_the_attack(victim: Victim) -> None:
    assert torch.equal(attack(victim, "pgd", seed=1), attack(victim, "pgd", seed=1))
    assert not torch.equal(attack(victim, "pgd", seed=1), attack(victim, "pgd", seed=2))


def test_a_passed_generator_leaves_the_global_one_alone(victim: Victim) -> None:
    before = torch.get_rng_state()
    attack(victim, "pgd")
    assert torch.equal(torch.get_rng_state(), before)


def test_every_image_may_have_its_own_radius(victim: Victim) -> None:
    radii = torch.tensor([1.0, 2, 4, 8, 0, 16])
    attacked = attack(victim, "mifgsm", radii / 255)
    moved = ((attacked - victim.images) * 255).abs().amax((1, 2, 3))
    torch.testing.assert_close(moved, radii, atol=1e-3, rtol=0)


def test_fgsm_by_hand() -> None:
    weights = torch.tensor([2.0, -1.0, 0.5]).view(1, 3, 1, 1)
    images = torch.full((1, 3, 1, 2), 100 / 255)
    masks = torch.tensor([[[[1.0, 0.0]]]])
    attacked = run_attack(
        lambda x: (weights * x).sum(1, keepdim=True), images, masks, EPS, ATTACKS["fgsm"]
    )
    # Away from the mask: down along the weights where it is 1, up where it is 0.
    expected = torch.tensor([[92.0, 108.0], [108.0, 92.0], [92.0, 108.0]])
    torch.testing.assert_close(attacked[0, :, 0] * 255, expected)


def test_the_ends_of_the_range_hold() -> None:
    images = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(1, 3, 1, 2)
    masks = torch.tensor([[[[1.0, 0.0]]]])
    attacked = run_attack(lambda x: x.sum(1, keepdim=True), images, masks, EPS, ATTACKS["fgsm"])
    assert torch.equal(attacked, images)


def test_momentum_remembers_earlier_gradients() -> None:
    """The slope turns on the way up: with momentum the attack walks on, without it turns back."""

    def hill(images: Tensor) -> Tensor:
        height = images.mean(1, keepdim=True) - 100 / 255
        return -torch.minimum(10 * height, 1.2 - 10 * height)  # the top is at 0.06

    images, masks = torch.full((1, 3, 1, 1), 100 / 255), torch.ones(1, 1, 1, 1)
    steep = AttackSpec(steps=4, step_share=0.25)
    without = run_attack(hill, images, masks, 0.1, steep)
    with_momentum = run_attack(hill, images, masks, 0.1, replace(steep, momentum=1.0))
    assert with_momentum.max() > without.max()


def test_expectation_over_transforms_is_seeded_and_costs_draws(victim: Victim) -> None:
    calls: list[int] = []

    def shift(images: Tensor, generator: torch.Generator) -> Tensor:
        calls.append(1)
        return images + 0.01 * torch.randn(images.shape, generator=generator)

    def run() -> Tensor:
        return run_attack(
            victim.forward, victim.images, victim.masks, EPS, attack_spec("pgd", steps=2),
            generator=torch.Generator().manual_seed(3), expectation=Expectation(shift, 3),
        )  # fmt: skip

    first = run()
    assert len(calls) == 6
    assert torch.equal(run(), first)
    with pytest.raises(ConfigError, match="draws is 0"):
        Expectation(shift, 0)


def test_a_localizer_without_gradient_is_refused(victim: Victim) -> None:
    def deaf(images: Tensor) -> Tensor:
        with torch.no_grad():
            return victim.forward(images)

    with pytest.raises(LocalizerError, match="no gradient reaches the image"):
        run_attack(deaf, victim.images, victim.masks, EPS, ATTACKS["pgd"])


def test_names_and_steps_are_checked() -> None:
    with pytest.raises(ConfigError, match="Nearest: pgd"):
        attack_spec("pdg")
    with pytest.raises(ConfigError, match="steps is 0"):
        attack_spec("pgd", steps=0)
    with pytest.raises(ConfigError, match="unknown objective"):
        AttackSpec(objective="bse")


def test_steps_replace_those_of_iterative_attacks_only() -> None:
    assert attack_spec("pgd", steps=20).steps == 20
    assert attack_spec("pgd", steps=20).relative_step == pytest.approx(2.5 / 20)
    assert attack_spec("mifgsm", steps=20).relative_step == pytest.approx(2.5 / 20)
    assert attack_spec("pgd", step_share=0.1).relative_step == 0.1
    assert attack_spec("fgsm", steps=9, step_share=0.1).relative_step == 1.0
    assert attack_spec("fgsm", steps=20).steps == 1
