"""A small localizer and its state."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

State = dict[str, Tensor]


def net(width: int = 4) -> nn.Module:
    """Return a small localizer."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.Conv2d(width, 1, 1)
    )


@pytest.fixture
def state() -> State:
    torch.manual_seed(0)
    return net().state_dict()
