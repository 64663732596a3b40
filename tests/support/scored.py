"""The embedded pair with its attack score, a strong module, and scores that say always the same."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import ANSM, DefendedLocalizer, wrap_with_ansm
from ansm_plugin.ansm import Architecture
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer, packaged_ansm

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())


@pytest.fixture
def thin() -> ANSM:
    """Return a cheap module with a strong perturbation."""
    ansm = ANSM(THIN)
    nn.init.normal_(ansm.trunk.head.weight, std=10.0)
    return ansm.eval()


@pytest.fixture
def pixels(generator: torch.Generator) -> Tensor:
    """Return four images of an odd size."""
    return torch.rand(4, 3, 37, 50, generator=generator)


def constant(bias: float) -> AttackScore:
    """Return a score that says the same of every image."""
    return AttackScore(weights=(0.0,) * len(FEATURES), bias=bias)


@pytest.fixture(scope="module")
def packaged() -> DefendedLocalizer[nn.Module]:
    """Return the embedded pair."""
    return wrap_with_ansm(build_localizer(DEFAULT_LOCALIZER), str(packaged_ansm()))
