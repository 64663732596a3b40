"""Losses against slow twins, hand numbers and numerical gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError
from ansm_plugin.training.losses import (
    channelwise_kl,
    dual_mask,
    l2cos,
    mask_loss,
    relative_l2,
    soft_mask,
    squashed_logits,
)


def features(seed: int, *shapes: tuple[int, int, int]) -> list[Tensor]:
    """Return one feature `(B, C, N)` in float64 per shape."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes]


def slow_channelwise_kl(processed: list[Tensor], original: list[Tensor], alpha: float) -> float:
    """Write the sum of FFA out: one channel of one image of one stage at a time."""
    stages = []
    for stage_p, stage_o in zip(processed, original, strict=True):
        channels = []
        for image in range(stage_p.shape[0]):
            for channel in range(stage_p.shape[1]):
                p, o = stage_p[image, channel].tolist(), stage_o[image, channel].tolist()
                m = [math.exp(v) / sum(map(math.exp, p)) for v in p]
                q = [math.exp(v) / sum(map(math.exp, o)) for v in o]
                terms = [a * math.log((a + alpha) / (b + alpha)) for a, b in zip(m, q, strict=True)]
                channels.append(sum(terms) / len(terms))
        stages.append(sum(channels) / len(channels))
    return sum(stages) / len(stages)


@pytest.mark.parametrize("alpha", [1e-8, 0.1])
def test_channelwise_kl_agrees_with_its_slow_twin(alpha: float) -> None:
    shapes = ((2, 3, 5), (2, 4, 7))
    processed, original = features(0, *shapes), features(1, *shapes)
    expected = slow_channelwise_kl(processed, original, alpha)
    assert channelwise_kl(processed, original, alpha=alpha).item() == pytest.approx(expected)


def test_channelwise_kl_hand_number() -> None:
    # Softmax gives (3/4, 1/4) and (1/2, 1/2).
    processed, original = torch.tensor([[[math.log(3.0), 0.0]]]), torch.zeros(1, 1, 2)
    expected = (0.75 * math.log(1.5) + 0.25 * math.log(0.5)) / 2
    assert channelwise_kl([processed], [original]).item() == pytest.approx(expected, rel=1e-6)


def test_channelwise_kl_is_not_symmetric_so_the_order_matters() -> None:
    a, b = features(0, (1, 2, 5)), features(1, (1, 2, 5))
    assert channelwise_kl(a, b).item() != pytest.approx(channelwise_kl(b, a).item())
    assert channelwise_kl(a, b, reverse=True).item() == channelwise_kl(b, a).item()


def test_the_gradient_goes_to_the_processed_features_in_either_order() -> None:
    a, b = features(0, (1, 2, 5)), features(1, (1, 2, 5))
    for feature in (*a, *b):
        feature.requires_grad_()
    channelwise_kl(a, b, reverse=True).backward()
    assert a[0].grad is not None
    assert a[0].grad.abs().sum() > 0
    assert b[0].grad is None


@pytest.mark.parametrize("loss", [channelwise_kl, l2cos])
def test_equal_features_cost_nothing(loss: object) -> None:
    same = features(0, (2, 3, 5))
    assert loss(same, same).item() == pytest.approx(0, abs=1e-12)  # type: ignore[operator]


def test_only_l2cos_sees_the_mean_of_a_channel() -> None:
    original = features(0, (2, 3, 5))
    shifted = [original[0] + 3]
    assert channelwise_kl(shifted, original).item() == pytest.approx(0, abs=1e-12)
    assert l2cos(shifted, original).item() > 0.1


def test_l2cos_hand_number() -> None:
    processed, original = torch.tensor([[[0.0, 2.0]]]), torch.tensor([[[1.0, 0.0]]])
    assert l2cos([processed], [original]).item() == pytest.approx(5 / 1 + 1 - 0)


@pytest.mark.parametrize("loss", [channelwise_kl, l2cos])
def test_gradients_agree_with_finite_differences(loss: object) -> None:
    processed, original = features(0, (2, 3, 5)), features(1, (2, 3, 5))
    assert torch.autograd.gradcheck(
        lambda p: loss([p], original),  # type: ignore[operator]
        processed[0].requires_grad_(),
    )


@pytest.mark.parametrize("loss", [channelwise_kl, l2cos])
def test_no_gradient_flows_to_the_original(loss: object) -> None:
    processed, original = features(0, (1, 2, 4)), features(1, (1, 2, 4))
    both = [processed[0].requires_grad_(), original[0].requires_grad_()]
    value = loss(processed, original)  # type: ignore[operator]
    gradients = torch.autograd.grad(value, both, allow_unused=True)
    assert gradients[0].any()
    assert gradients[1] is None


def test_half_precision_features_are_compared_in_fp32() -> None:
    half = [f.bfloat16() for f in features(0, (1, 2, 4))]
    assert channelwise_kl(half, half).dtype == torch.float32


@pytest.mark.parametrize(("processed", "original"), [(0, 0), (1, 2)])
def test_features_must_pair_up(processed: int, original: int) -> None:
    with pytest.raises(ConfigError, match="same number, at least one"):
        channelwise_kl(features(0, (1, 2, 4)) * processed, features(1, (1, 2, 4)) * original)


def test_mask_loss_hand_number() -> None:
    logits, masks = torch.zeros(1, 1, 1, 2), torch.tensor([[[[1.0, 0.0]]]])
    # BCE is log 2; Dice with +1: 1 - (2 * 0.5 + 1) / (1 + 1 + 1).
    expected = 0.3 * math.log(2) + 0.7 * (1 - 2 / 3)
    assert mask_loss(logits, masks).item() == pytest.approx(expected)


def test_mask_loss_of_an_empty_mask_is_finite_and_has_a_graph() -> None:
    logits = torch.full((1, 1, 4, 4), -3.0, requires_grad=True)
    value = mask_loss(logits, torch.zeros(1, 1, 4, 4))
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert gradient.abs().sum() > 0


def test_mask_loss_gradient_agrees_with_finite_differences() -> None:
    logits = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    masks = (torch.rand(2, 1, 3, 3) > 0.5).double()
    assert torch.autograd.gradcheck(lambda x: mask_loss(x, masks), logits)


def test_dual_mask_weighs_the_original_branch() -> None:
    attacked, original = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    masks = (torch.rand(2, 1, 4, 4) > 0.5).float()
    expected = mask_loss(attacked, masks) + 0.5 * mask_loss(original, masks)
    assert dual_mask(attacked, original, masks, original_weight=0.5).item() == pytest.approx(
        expected.item()
    )


def test_dual_mask_takes_another_mask_for_the_original_branch() -> None:
    attacked, original = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    masks = (torch.rand(2, 1, 4, 4) > 0.5).float()
    expected = mask_loss(attacked, masks) + mask_loss(original, 1 - masks)
    assert torch.equal(dual_mask(attacked, original, masks, 1 - masks), expected)


def test_dual_mask_weighs_the_attacked_branch() -> None:
    attacked, original = torch.randn(2, 1, 4, 4), torch.randn(2, 1, 4, 4)
    masks = (torch.rand(2, 1, 4, 4) > 0.5).float()
    found = dual_mask(attacked, original, masks, attacked_weight=0.25)
    assert found.item() == pytest.approx(
        (0.25 * mask_loss(attacked, masks) + mask_loss(original, masks)).item()
    )


def test_relative_l2_is_a_share_of_the_energy() -> None:
    original = torch.full((2, 3, 4), 2.0)
    assert relative_l2([original * 1.5, original], [original] * 2).item() == pytest.approx(0.125)


@pytest.mark.parametrize("loss", [soft_mask, squashed_logits])
def test_the_own_answer_costs_nothing_and_any_other_something(loss: Any) -> None:
    torch.manual_seed(0)
    own = 3 * torch.randn(2, 1, 4, 4, dtype=torch.float64, requires_grad=True)
    same = own.detach().clone().requires_grad_()
    value = loss(same, own)
    assert value.item() == pytest.approx(0, abs=1e-12)
    (gradient,) = torch.autograd.grad(value, same)
    assert gradient.abs().max() < 1e-12
    other = (own + 1).detach().requires_grad_()
    assert loss(other, own).item() > 1e-3
    assert torch.autograd.gradcheck(lambda x: loss(x, own.detach()), other)
    assert torch.isfinite(loss(torch.full_like(own, 1e4), torch.full_like(own, -1e4)))
    (none,) = torch.autograd.grad(loss(other, own), own, allow_unused=True)
    assert none is None or not none.any()
