"""A cheap module to wrap localizers with, fresh or strong, and images of an odd size."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import ANSM, LocalizerSpec
from ansm_plugin.ansm import Architecture

PLAIN = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@pytest.fixture
def pixels(generator: torch.Generator) -> Tensor:
    """Return two images of an odd size."""
    return torch.rand(2, 3, 37, 50, generator=generator)


def thin(*, is_trained: bool = False) -> ANSM:
    """Return a cheap module, fresh or with a strong perturbation."""
    arch = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        ansm = ANSM(arch)
        if is_trained:
            nn.init.normal_(ansm.trunk.head.weight, std=10.0)
    return ansm
