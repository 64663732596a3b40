"""No step waits for the host: on the meta device, which has no numbers, whoever asks one fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import TrainingError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.recipes import ffa, mgr
from ansm_plugin.recipes.stage import Pairs, Setup, Stage
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.step import Step, Turn

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
FIT = FitConfig(steps=10, batch_size=4)


class Localizer(nn.Module):
    """One convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        mask: Tensor = self.head(images)
        return mask


def setup_on(device: str) -> Setup:
    spec = LocalizerSpec(taps=("head",))
    defended = wrap_with_ansm(Localizer(), ansm=ANSM(THIN), spec=spec)
    shape = (8, 3, 32, 32)
    pairs = Pairs(
        torch.zeros(shape, dtype=torch.uint8, device=device),
        torch.zeros((8, 1, 32, 32), dtype=torch.uint8, device=device),
        torch.zeros(shape, dtype=torch.uint8, device=device),
    )
    return Setup(defended.to(device), pairs, Stage(saturation_limit=0.2))


def step_of(recipe: str, setup: Setup) -> Step:
    if recipe == "ffa":
        return ffa.make_step(setup, ffa.Ffa(fit=FIT))
    choices = mgr.Mgr(fit=FIT, ramp=1.0, original_rms_price=1.0, relative_alignment=1.0)
    return mgr.make_step(setup, choices if recipe == "mgr" else replace(choices, denoise=1.0))


@pytest.mark.parametrize("recipe", ["ffa", "mgr", "mgr, prices alone"])
def test_a_step_asks_the_device_nothing(recipe: str) -> None:
    step = step_of(recipe, setup_on("meta"))
    loss, logs, _ = step(Turn(1, torch.Generator().manual_seed(0)))
    assert loss.is_meta
    assert loss.requires_grad
    assert isinstance(logs["saturated"], Tensor)
    with pytest.raises((RuntimeError, NotImplementedError)):
        float(loss)  # what this test relies on


@pytest.mark.parametrize("recipe", ["ffa", "mgr"])
def test_the_limit_of_saturation_comes_with_the_step(recipe: str) -> None:
    loss, logs, require = step_of(recipe, setup_on("cpu"))(Turn(1, torch.Generator()))
    assert float(logs["saturated"]) == 0
    require({"loss": float(loss.detach()), "saturated": 0.2})
    with pytest.raises(TrainingError, match=r"30% of the perturbation is saturated \(limit 20%\)"):
        require({"loss": float(loss.detach()), "saturated": 0.3})


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_module_whose_last_features_died_stops_the_training(
    norm: Literal["none", "batch"],
) -> None:
    setup = setup_on("cpu")
    setup.defended.ansm = ansm = ANSM(replace(THIN, norm=norm)).train()
    require, logs = setup.require_learning, {"saturated": 0.0}
    require(logs)  # a fresh one adds nothing, and learns
    nn.init.normal_(ansm.trunk.head.weight)
    before = {name: tensor.clone() for name, tensor in ansm.state_dict().items()}
    require(logs)
    assert all(torch.equal(tensor, before[name]) for name, tensor in ansm.state_dict().items())
    last = [m for m in ansm.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)][-2]
    assert last.bias is not None
    nn.init.constant_(last.weight, 0)
    nn.init.constant_(last.bias, -1)
    setup.requirement(0)(logs)  # a look takes a pass: it is not taken in every step
    require = setup.requirement(99)
    with pytest.raises(TrainingError, match=r"ReLUs of its last features are dead.*lower learn"):
        require(logs)
