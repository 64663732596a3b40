"""What an attacker maximises, against slow twins and hand numbers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import OBJECTIVES, objective
from ansm_plugin.errors import ConfigError


def example(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits and masks `(2, 1, 3, 4)` in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 1, 3, 4, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(2, 1, 3, 4, generator=generator) > 0.5).double()


def per_pixel(function: object, logits: Tensor, masks: Tensor) -> list[float]:
    """Sum a function of one logit and one mask value over the pixels of each image."""
    return [
        sum(map(function, image.flatten().tolist(), mask.flatten().tolist()))  # type: ignore[call-overload]
        for image, mask in zip(logits, masks, strict=True)
    ]


def slow_bce(logit: float, mask: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -math.log(p if mask else 1 - p)


def slow_cospgd(logit: float, mask: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    agreement = (p if mask else 1 - p) / math.hypot(p, 1 - p)
    return agreement * slow_bce(logit, mask)


def slow_margin(logit: float, mask: float) -> float:
    return min(1.0, -logit if mask else logit)


def slow_hide(logit: float, mask: float) -> float:
    return -slow_bce(logit, 0.0)


TWINS = {"bce": slow_bce, "cospgd": slow_cospgd, "margin": slow_margin, "hide": slow_hide}


def test_every_objective_has_a_twin() -> None:
    assert set(TWINS) == set(OBJECTIVES)


@pytest.mark.parametrize("name", TWINS)
def test_objective_agrees_with_its_slow_twin(name: str) -> None:
    logits, masks = example()
    found = objective(name)(logits, masks, 0.0)
    assert found.shape == (2,)
    assert found.tolist() == pytest.approx(per_pixel(TWINS[name], logits, masks))


def test_the_weight_of_cospgd_carries_no_gradient() -> None:
    logits, masks = example()
    leaf = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(OBJECTIVES["cospgd"](leaf, masks, 0.0).sum(), leaf)
    foreground = torch.sigmoid(logits)
    agreement = torch.where(masks > 0, foreground, 1 - foreground)
    weight = agreement / torch.hypot(foreground, 1 - foreground)
    torch.testing.assert_close(found, weight * (foreground - masks))


@pytest.mark.parametrize("name", ["bce", "cospgd", "margin"])
def test_untargeted_objectives_rise_when_a_pixel_turns_wrong(name: str) -> None:
    masks = torch.ones(1, 1, 1, 1)
    right, wrong = torch.full((1, 1, 1, 1), 0.5), torch.full((1, 1, 1, 1), -0.5)
    assert objective(name)(wrong, masks, 0.0) > objective(name)(right, masks, 0.0)


def test_hide_rises_when_the_mask_empties() -> None:
    logits, masks = example()
    assert (
        OBJECTIVES["hide"](logits - 1, masks, 0.0) > OBJECTIVES["hide"](logits, masks, 0.0)
    ).all()


def test_unknown_objective_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Nearest: cospgd"):
        objective("cospdg")
