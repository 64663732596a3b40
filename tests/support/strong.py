"""A module at its bound almost everywhere, images for it, and what they are normalised by."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin import ANSM, LocalizerSpec

SPEC = LocalizerSpec()


def strong(preset: str = "tiny", scale: float = 10.0) -> ANSM:
    """Return a module whose perturbation is at its bound almost everywhere."""
    torch.manual_seed(1)
    ansm = ANSM(preset)
    nn.init.normal_(ansm.trunk.head.weight, std=scale)
    return ansm


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 33, 40, generator=torch.Generator().manual_seed(0))
