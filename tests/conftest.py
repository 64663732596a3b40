"""Tiny localizers, seeded randomness, one thread; nothing here needs a network or a GPU."""

from __future__ import annotations

import os
import sys

# Before the package is imported, here and in every process that a test starts: what a command
# takes where no localizer is named is small. Tests of the default itself take this away.
os.environ["ANSM_LOCALIZER"] = "forensic-unet"

from collections.abc import Iterator

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin.localizer.spec import LocalizerSpec


class TinyLocalizer(nn.Module):
    """Two convolutions with BatchNorm and dropout: all that a frozen localizer must not move."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        logits: Tensor = self.head(self.dropout(self.features(images)))
        return logits


def count_hooks(module: nn.Module) -> int:
    """Return the number of hooks on a module and all below it."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(m, kind)) for m in module.modules() for kind in kinds)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    """Let no test's compilations count towards the limit of another's (eight per function)."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def tiny(_seeded: None) -> Iterator[TinyLocalizer]:
    """Return a localizer in train mode; afterwards no hook may be left on it."""
    localizer = TinyLocalizer()
    localizer.features[1].running_mean.normal_()
    yield localizer
    assert count_hooks(localizer) == 0


@pytest.fixture
def tiny_spec() -> LocalizerSpec:
    return LocalizerSpec(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4), taps=("features",))


@pytest.fixture
def unet(_seeded: None) -> Iterator[nn.Module]:
    """Return a small SMP model with random weights; afterwards no hook may be left on it."""
    localizer = smp.Unet("resnet18", encoder_weights=None, decoder_channels=(16, 16, 8, 8, 8))
    yield localizer
    assert count_hooks(localizer) == 0
