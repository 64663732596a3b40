"""Variants of the loop, starts, restarts and regions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import ATTACKS, AttackSpec, attack_spec, draw_region, run_attack
from ansm_plugin.attacks.slope import Slope, moved_view
from ansm_plugin.errors import ConfigError, ImageError

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py


def attack(victim: Victim, spec: AttackSpec, seed: int = 0, **options: Any) -> Tensor:
    """Run an attack from a seeded start."""
    generator = torch.Generator().manual_seed(seed)
    return run_attack(
        victim.forward, victim.images, victim.masks, EPS, spec, generator=generator, **options
    )


@pytest.mark.parametrize("name", ["nifgsm", "vmifgsm", "difgsm"])
def test_variants_of_mifgsm_differ_from_it_and_work(victim: Victim, name: str) -> None:
    attacked = attack(victim, attack_spec(name, steps=8))
    assert not torch.equal(attacked, attack(victim, attack_spec("mifgsm", steps=8)))
    assert victim.f1(attacked) < 0.7


@pytest.mark.parametrize("name", ATTACKS)
def test_the_number_of_gradients_is_what_the_spec_says(victim: Victim, name: str) -> None:
    passes = 0

    def counting(images: Tensor) -> Tensor:
        nonlocal passes
        passes += torch.is_grad_enabled()
        return victim.forward(images)

    spec = replace(attack_spec(name, steps=2), restarts=2)
    run_attack(counting, victim.images, victim.masks, EPS, spec)
    assert passes == spec.gradients


def test_the_mask_moves_with_the_image() -> None:
    """The mask of a moved view is where its image is bright, as before the move."""
    masks = torch.zeros(1, 1, 40, 40)
    masks[..., 12:24, 8:30] = 1
    for seed in range(8):
        seen, moved = moved_view(
            masks.expand(-1, 3, -1, -1), masks, torch.Generator().manual_seed(seed)
        )
        assert seen.shape == (1, 3, 40, 40)
        assert set(moved.unique().tolist()) == {0.0, 1.0}
        assert (seen.mean(1, keepdim=True) - moved).abs().mean() < 0.03


def test_a_moved_view_is_scored_against_its_own_mask() -> None:
    """A perfect localizer stays perfect under the move: its success is minus F1 1."""
    masks = torch.zeros(2, 1, 48, 48)
    masks[..., 8:40, 8:40] = 1
    slope = Slope(
        forward=lambda images: images[:, :1] - 0.5,
        masks=masks,
        objective="bce",
        diversity=1.0,
        generator=torch.Generator().manual_seed(4),
    )
    for _ in range(5):
        _, worth = slope.gradient_and_worth(masks.expand(-1, 3, -1, -1), 0.0)
        assert (worth.success < -0.97).all()


def test_a_restart_is_kept_where_it_is_more_successful(victim: Victim) -> None:
    spec = attack_spec("pgd", steps=3)
    once = victim.f1_of(attack(victim, spec))
    twice = victim.f1_of(attack(victim, replace(spec, restarts=4)))
    assert (twice <= once).all()
    assert (twice < once).any()


def test_an_attack_goes_on_from_its_start(victim: Victim) -> None:
    """What PGD found is not lost: one short step of APGD from there is no weaker."""
    found = attack(victim, attack_spec("pgd", steps=10))
    goes_on = attack(victim, attack_spec("apgd", steps=1), start=found)
    assert (victim.f1_of(goes_on) <= victim.f1_of(found)).all()
    far = attack(victim, attack_spec("fgsm"), start=torch.ones_like(found))
    assert (far - victim.images).abs().max() <= EPS + 1e-6


@pytest.mark.parametrize("name", ["pgd", "apgd", "pgd-l2"])
def test_noise_stays_in_the_patch_that_is_drawn(victim: Victim, name: str) -> None:
    spec = replace(attack_spec(name, steps=3), region="patch")
    # The region is the first thing that an attack draws.
    patch = draw_region("patch", victim.masks, torch.Generator().manual_seed(0))
    assert patch is not None
    noise = attack(victim, spec) - victim.images
    assert (noise * (1 - patch)).abs().max() == 0
    assert noise.abs().max() > 0


def test_noise_of_the_region_attack_stays_in_the_forged_region(victim: Victim) -> None:
    noise = attack(victim, attack_spec("region", steps=3)) - victim.images
    assert (noise * (1 - victim.masks)).abs().max() == 0  # 24 pixels: no margin
    assert noise.abs().max() > 0


def test_bad_starts_and_specs_are_refused(victim: Victim) -> None:
    with pytest.raises(ImageError, match="start has shape"):
        attack(victim, attack_spec("pgd"), start=victim.images[:2])
    with pytest.raises(ConfigError, match="Nearest: apgd"):
        AttackSpec(method="apdg")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown norm"):
        AttackSpec(norm="l1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="restarts is 0"):
        AttackSpec(restarts=0)
