"""What a second localizer reaches alone: the trunk of an ANSM with a mask head, trained anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, PRESETS, Architecture
from ansm_plugin.baselines import Examples, fit_baseline, trained
from ansm_plugin.baselines.second_localizer import SecondLocalizer
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.cost import baseline_cost
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.metrics.masks import f1_scores

Defended = DefendedLocalizer[Any]
THIN = Architecture(widths=(8,), encoder_blocks=(2,), decoder_blocks=())


def fit(defended: Defended, examples: Examples, steps: int = 4, **options: Any) -> Any:
    generator = torch.Generator().manual_seed(0)
    return fit_baseline(
        "second-localizer", defended, examples, generator=generator, steps=steps, **options
    )


def pair(defended: Defended, ansm: nn.Module) -> Defended:
    return DefendedLocalizer(defended.localizer, ansm, defended.spec).eval()


class _Blind(nn.Module):
    def forward(self, pixels: Tensor) -> Tensor:
        raise AssertionError("the second localizer asked the first")


@pytest.mark.parametrize("preset", ["tiny", "small", "base", "small?norm=batch"])
def test_any_trunk_gives_one_logit_for_each_pixel(preset: str) -> None:
    arch = ANSM(preset).architecture
    localizer = SecondLocalizer(arch).eval()
    assert localizer(torch.rand(2, 3, 37, 50)).shape == (2, 1, 37, 50)
    own, other = (sum(p.numel() for p in m.parameters()) for m in (localizer, ANSM(arch)))
    assert 0.8 * other < own <= other


def test_it_learns_to_localize_without_any_localizer(
    defended: Defended, examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It finds what it was taught, attacked or not, and ignores the localizer that it is given."""
    monkeypatch.setitem(trained.RATES, "second", 0.02)
    monkeypatch.setitem(PRESETS, "small", THIN)
    baseline = fit(pair(defended, nn.Identity()), examples, steps=80)
    forward = baseline(_Blind())
    for images in (examples.originals, examples.attacked):
        with torch.no_grad():
            assert float(f1_scores(forward(images), examples.masks).mean()) > 0.7
    assert baseline.filter is None
    assert baseline.label.startswith("second localizer, no other, ")


def test_it_has_the_architecture_of_the_module(defended: Defended, examples: Examples) -> None:
    thin = ANSM(THIN)
    baseline = fit(pair(defended, thin), examples)
    assert baseline.module.inner.architecture == THIN
    bf16 = fit(pair(defended, thin), examples, precision="bf16")
    assert bf16.module.inner.precision == "bf16"


def test_its_cost_is_its_own_less_that_of_the_localizer(
    defended: Defended, examples: Examples
) -> None:
    baseline = fit(pair(defended, ANSM(THIN)), examples)
    bare = mask_forward(defended.localizer, defended.spec)
    cost = baseline_cost(baseline, bare, size=(16, 16), rounds=1)
    assert cost.parameters == sum(p.numel() for p in baseline.module.parameters())
