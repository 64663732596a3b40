"""The gradient of the bare localizer is probed too, and who is to blame is named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from support.colour_blinded import SPEC, forged_sample
from torch import Tensor, nn

from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation import EvaluationConfig
from ansm_plugin.evaluation.checks.gradient import probe_bare
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import Activation

T1_ALONE = EvaluationConfig(attacks=("pgd",), eps_255=(8,), threats=("T0", "T1"))


class Answering(nn.Module):
    """Brightness against one half, shown in one way."""

    def __init__(self, show: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.show = show

    def forward(self, inputs: Tensor) -> Tensor:
        return self.show(inputs.mean(1, keepdim=True) - 0.5)


def said(
    show: Callable[[Tensor], Tensor],
    activation: Activation = "logits",
    config: EvaluationConfig = T1_ALONE,
) -> str:
    forward = mask_forward(Answering(show).eval(), replace(SPEC, activation=activation))
    return " ".join(probe_bare(forward, activation, forged_sample(), config))


SATURATED: dict[str, tuple[Callable[[Tensor], Tensor], Activation]] = {
    "sigmoid": (lambda z: torch.sigmoid(2000 * z), "sigmoid"),
    "two classes": (lambda z: torch.cat([-1000 * z, 1000 * z], 1).softmax(1), "softmax"),
    "half precision": (lambda z: torch.sigmoid((1000 * z).half()), "sigmoid"),
    "hard": (lambda z: (z * 1e9).clamp(0, 1), "sigmoid"),
    "rounded": (lambda z: torch.sigmoid(20 * z).round(), "sigmoid"),
    "one side": (lambda z: torch.sigmoid(2000 * z.clamp_max(0.001)), "sigmoid"),
}


@pytest.mark.parametrize("name", SATURATED)
def test_saturated_probabilities_are_blamed_on_the_localizer(name: str) -> None:
    alarm = said(*SATURATED[name])
    assert "the localizer's probabilities" in alarm
    assert "T1" in alarm
    assert 'activation="logits"' in alarm


def test_large_logits_are_to_be_attacked_with_margin() -> None:
    alarm = said(lambda z: 20000 * z)
    assert "cross-entropy is flat" in alarm
    assert "margin" in alarm


class Misleading(torch.autograd.Function):
    """A gradient of its own that points nowhere."""

    @staticmethod
    def forward(ctx: object, z: Tensor) -> Tensor:  # type: ignore[override]
        return z.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return torch.randn(gradient.shape, generator=torch.Generator().manual_seed(0))


OTHERS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "rounded logits": (lambda z: (20 * z).round(), "is zero .*a rounding"),
    "detached": (lambda z: 20 * z.detach(), "no finite gradient comes back through the localizer"),
    "NaN": (lambda z: 20 * z + (0 * z).abs().sqrt(), "no finite gradient"),
    "misleading": (lambda z: Misleading.apply(20 * z), "does not tell how its output changes"),
    "random": (lambda z: 20 * z + torch.randn(z.shape), "differently each time"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_masked_gradients_are_told_under_t1_too(name: str) -> None:
    show, words = OTHERS[name]
    alarm = said(show)
    assert "localizer" in alarm
    assert "T1 figure" in alarm
    assert re.search(words, alarm)


SOUND: dict[str, tuple[Callable[[Tensor], Tensor], Activation]] = {
    "logits": (lambda z: 20 * z, "logits"),
    "sure logits": (lambda z: 400 * z, "logits"),
    "probabilities": (lambda z: torch.sigmoid(20 * z), "sigmoid"),
    "sure probabilities": (lambda z: torch.sigmoid(400 * z), "sigmoid"),
    "two classes": (lambda z: torch.cat([-9 * z, 9 * z], 1).softmax(1), "softmax"),
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_gradient_is_not_doubted(name: str) -> None:
    assert said(*SOUND[name]) == ""


def test_nothing_is_probed_where_the_localizer_is_not_attacked() -> None:
    def never(pixels: Tensor) -> Tensor:
        raise AssertionError("probed")

    config = EvaluationConfig(attacks=("pgd",), threats=("T0", "T4"))
    empty = Sample(torch.rand(1, 3, 4, 4), torch.ones(1, 1, 4, 4), ("a",))
    assert probe_bare(never, "logits", empty, config) == ()
