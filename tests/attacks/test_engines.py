"""The bridge to torchattack: each trap of library attacks on dense binary masks."""

from __future__ import annotations

import copy
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.attacks.engines import (
    ENGINE_ATTACKS,
    BinaryAsTwoClass,
    DenseLoss,
    EngineAttack,
    engine_attack,
)
from ansm_plugin.errors import ConfigError

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py


def attack(victim: Victim, name: str, *, seed: int = 0, **options: Any) -> Tensor:
    """Run a library attack of three steps."""
    pytest.importorskip("torchattack")
    data = (victim.model, victim.spec, victim.images, victim.masks, EPS)
    return engine_attack(*data, EngineAttack(name, **{"steps": 3, **options}), seed=seed)


def test_cross_entropy_over_two_classes_is_that_of_the_mask() -> None:
    """Trap: over one channel it is 0 everywhere, and the attack noise without direction."""
    logits, masks = torch.randn(2, 1, 4, 4), (torch.rand(2, 1, 4, 4) > 0.5).float()
    labels = masks.squeeze(1).long()
    two = BinaryAsTwoClass(lambda pixels: pixels)(logits)
    wanted = functional.binary_cross_entropy_with_logits(logits, masks)
    torch.testing.assert_close(functional.cross_entropy(two, labels), wanted)
    torch.testing.assert_close(DenseLoss()(two, labels), wanted * masks.numel())
    assert functional.cross_entropy(logits, torch.zeros_like(labels)) == 0


@pytest.mark.parametrize("name", sorted(set(ENGINE_ATTACKS) - {"TIFGSM"}))
def test_library_attacks_do_harm(victim: Victim, name: str) -> None:
    assert victim.f1(attack(victim, name)) < victim.f1(victim.images) - 0.05


@pytest.mark.parametrize("name", ENGINE_ATTACKS)
def test_results_are_8_bit_images_in_the_ball_without_a_graph(victim: Victim, name: str) -> None:
    attacked = attack(victim, name)
    noise = 255 * (attacked - victim.images)
    assert not attacked.requires_grad
    assert torch.equal((255 * attacked).round() / 255, attacked)
    size = noise.abs().max() if ENGINE_ATTACKS[name] == "linf" else noise.square().mean().sqrt()
    assert size <= 8 + 1e-3


@pytest.mark.parametrize("objective", ["bce", "segpgd", "cospgd", "margin", "js", "hide"])
def test_every_objective_can_be_the_loss(victim: Victim, objective: str) -> None:
    attacked = attack(victim, "PGD", objective=objective, steps=5)
    assert victim.f1(attacked) < 0.8


def test_parameters_get_no_gradient_and_modes_come_back(victim: Victim) -> None:
    """Traps: backward fills parameter gradients; BatchNorm in training mode learns."""
    model = copy.deepcopy(victim.model).train()
    model[0].weight.requires_grad_(False)
    state = copy.deepcopy(model.state_dict())
    moved = victim._replace(model=model)
    attack(moved, "MIFGSM")
    assert all(m.training for m in model.modules())
    assert all(p.grad is None for p in model.parameters())
    assert [p.requires_grad for p in model[0].parameters()] == [False, True]
    assert all(torch.equal(state[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize("name", ["PGD", "MuMoDIG"])
def test_the_seed_decides_and_the_global_generators_stay(victim: Victim, name: str) -> None:
    """Trap: MuMoDIG draws from numpy's global generator."""
    before = torch.get_rng_state()
    numpy_before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert torch.equal(attack(victim, name, seed=1), attack(victim, name, seed=1))
    assert not torch.equal(attack(victim, name, seed=1), attack(victim, name, seed=2))
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002


def test_the_step_size_is_ours_and_not_eps_by_steps(victim: Victim) -> None:
    """Trap: the library's PGD-50 takes tiny steps."""
    small = attack(victim, "IFGSM", step_share=1 / 9)
    assert (255 * (small - victim.images)).abs().max() <= 3 + 1e-3
    assert (255 * (attack(victim, "IFGSM") - victim.images)).abs().max() > 7


def test_attacking_works_inside_no_grad(victim: Victim) -> None:
    with torch.no_grad():
        attacked = attack(victim, "PGD")
    assert not torch.equal(attacked, victim.images)


def test_an_attack_without_effect_is_told(victim: Victim) -> None:
    pytest.importorskip("torchattack")

    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return 0 * inputs[:, :1] - 1

    data = (Constant(), victim.spec, victim.images, victim.masks, EPS)
    with pytest.warns(UserWarning, match="had no effect"):
        engine_attack(*data, EngineAttack("PGD", steps=1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attack(victim, "PGD")


def test_a_missing_library_is_named_with_its_remedy(
    victim: Victim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchattack", None)
    data = (victim.model, victim.spec, victim.images, victim.masks, EPS)
    with pytest.raises(ConfigError, match=r"pip install 'ansm_plugin\[attacks\]'"):
        engine_attack(*data, EngineAttack("PGD"))


def test_wrong_names_and_steps_are_refused_without_the_library() -> None:
    with pytest.raises(ConfigError, match="Nearest: PGD"):
        EngineAttack("PDG")
    with pytest.raises(ConfigError, match="unknown objective"):
        EngineAttack("PGD", objective="bse")
    with pytest.raises(ConfigError, match="steps is 0"):
        EngineAttack("PGD", steps=0)
