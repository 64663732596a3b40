"""What an attacker maximises, against slow twins and hand numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks import OBJECTIVES, objective
from ansm_plugin.attacks.objectives import f1, success, value
from ansm_plugin.errors import ConfigError
from ansm_plugin.metrics.masks import f1_scores

Pixel = Callable[[float, float], float]
Image = Callable[[list[float], list[float]], float]


def example(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return logits and masks `(2, 1, 3, 4)` in float64."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, 1, 3, 4, generator=generator, dtype=torch.float64)
    return logits, (torch.rand(2, 1, 3, 4, generator=generator) > 0.5).double()


def slow_js(logit: float, mask: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    predicted, wanted = (1 - p, p), (1 - mask, mask)
    mean = [(a + b) / 2 for a, b in zip(predicted, wanted, strict=True)]
    return sum(
        part * math.log(part / m) / 2
        for distribution in (predicted, wanted)
        for part, m in zip(distribution, mean, strict=True)
        if part
    )


def slow_segpgd(logit: float, mask: float) -> float:
    """A fifth on the way: weight 0.9 where right, 0.1 where wrong."""
    return (0.9 if (logit > 0) == bool(mask) else 0.1) * slow_bce(logit, mask)


def slow_masked_ce(logit: float, mask: float) -> float:
    return slow_bce(logit, mask) if (logit > 0) == bool(mask) else 0.0


def over_pixels(function: Pixel) -> Image:
    """Sum a function of one logit and one mask value over the pixels of an image."""
    return lambda logits, mask: sum(map(function, logits, mask))


def slow_balanced(logits: list[float], mask: list[float]) -> float:
    forged = sum(mask)
    sides = {1.0: forged, 0.0: len(mask) - forged}
    pairs = zip(logits, mask, strict=True)
    return sum(len(mask) / 2 / sides[m] * slow_bce(z, m) for z, m in pairs)


def slow_dice(logits: list[float], mask: list[float]) -> float:
    found = [1 / (1 + math.exp(-z)) for z in logits]
    overlap = sum(p * m for p, m in zip(found, mask, strict=True))
    return len(mask) * (1 - (2 * overlap + 1) / (sum(found) + sum(mask) + 1))


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


TWINS: dict[str, Image] = {
    "bce": over_pixels(slow_bce),
    "balanced": slow_balanced,
    "segpgd": over_pixels(slow_segpgd),
    "cospgd": over_pixels(slow_cospgd),
    "mce": over_pixels(slow_masked_ce),
    "js": over_pixels(slow_js),
    "margin": over_pixels(slow_margin),
    "dice": slow_dice,
    "hide": over_pixels(slow_hide),
    "output": over_pixels(lambda logit, mask: logit),
}


def test_every_objective_has_a_twin() -> None:
    assert set(TWINS) == set(OBJECTIVES)


@pytest.mark.parametrize("name", TWINS)
def test_objective_agrees_with_its_slow_twin(name: str) -> None:
    logits, masks = example()
    found = objective(name)(logits, masks, 0.2)
    assert found.shape == (2,)
    pairs = zip(logits.flatten(1).tolist(), masks.flatten(1).tolist(), strict=True)
    assert found.tolist() == pytest.approx([TWINS[name](z, m) for z, m in pairs])


def test_the_weight_of_cospgd_carries_no_gradient() -> None:
    logits, masks = example()
    leaf = logits.clone().requires_grad_()
    (found,) = torch.autograd.grad(OBJECTIVES["cospgd"](leaf, masks, 0.0).sum(), leaf)
    foreground = torch.sigmoid(logits)
    agreement = torch.where(masks > 0, foreground, 1 - foreground)
    weight = agreement / torch.hypot(foreground, 1 - foreground)
    torch.testing.assert_close(found, weight * (foreground - masks))


@pytest.mark.parametrize("name", ["bce", "balanced", "cospgd", "js", "margin", "dice"])
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


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"output"}))
@pytest.mark.parametrize("logit", [-60.0, 60.0])
@pytest.mark.parametrize("mask", [0.0, 1.0])
def test_extreme_logits_give_finite_values_and_gradients(
    name: str, logit: float, mask: float
) -> None:
    leaf = torch.full((2, 1, 4, 4), logit, requires_grad=True)
    found = objective(name)(leaf, torch.full((2, 1, 4, 4), mask), 0.5)
    (gradient,) = torch.autograd.grad(found.sum(), leaf)
    assert found.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["bce", "balanced", "segpgd", "cospgd", "mce", "js", "margin"])
def test_small_gradients_of_many_pixels_survive_fp32(name: str) -> None:
    """A mean over a million pixels of a confident localizer would underflow in half precision."""
    leaf = torch.full((1, 1, 1000, 1000), 3.0, requires_grad=True)
    total = objective(name)(leaf, torch.ones(1, 1, 1000, 1000), 0.0).sum()
    (gradient,) = torch.autograd.grad(total, leaf)
    assert gradient.abs().min() > 1e-2


def test_balanced_weighs_both_sides_alike() -> None:
    masks = torch.zeros(1, 1, 4, 4)
    masks[..., 0, 0] = 1
    leaf = torch.zeros_like(masks).requires_grad_()
    (gradient,) = torch.autograd.grad(OBJECTIVES["balanced"](leaf, masks, 0.0).sum(), leaf)
    forged = gradient[masks > 0].abs().sum()
    torch.testing.assert_close(forged, gradient[masks == 0].abs().sum())


def test_segpgd_ends_at_plain_cross_entropy() -> None:
    logits, masks = example()
    torch.testing.assert_close(
        2 * OBJECTIVES["segpgd"](logits, masks, 1.0), OBJECTIVES["bce"](logits, masks, 1.0)
    )


@pytest.mark.parametrize("name", ["segpgd", "cospgd", "mce"])
def test_points_are_compared_by_what_rises_with_success(name: str) -> None:
    masks = torch.ones(1, 1, 1, 1)
    values = [value(name, torch.full_like(masks, z), masks) for z in (3.0, 0.0, -3.0, -9.0)]
    assert values == sorted(values)


def test_success_is_what_the_attacker_is_after() -> None:
    logits, masks = example()
    assert torch.equal(success("bce", logits, masks), -f1(logits, masks))
    assert (success("hide", logits - 9, masks) > success("hide", logits, masks)).all()
    nothing = torch.zeros_like(masks)
    assert (success("bce", logits + 9, nothing) > success("bce", logits, nothing)).all()


def test_f1_is_that_of_the_evaluation() -> None:
    logits, masks = example(3)
    torch.testing.assert_close(f1(logits, masks), f1_scores(logits, masks))
    assert f1(-logits.abs(), torch.zeros_like(masks)).tolist() == [0, 0]
