"""A tiny localizer that works until it is attacked, and forged images for it."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.attacks import Forward
from ansm_plugin.attacks.objectives import f1
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.training.losses import mask_loss

EPS = 8 / 255


class Victim(NamedTuple):
    """A localizer that finds slightly brighter squares, and forged images for it."""

    model: nn.Module
    spec: LocalizerSpec
    forward: Forward
    images: Tensor
    masks: Tensor

    def f1_of(self, images: Tensor) -> Tensor:
        """Return the F1 at 0.5 of each image."""
        with torch.no_grad():
            return f1(self.forward(images), self.masks)

    def f1(self, images: Tensor) -> float:
        """Return the mean F1 at 0.5."""
        return float(self.f1_of(images).mean())


def forged(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return 8-bit images, 12 grey levels brighter in a random square, and masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, 24, 24)
    for mask in masks:
        top, left = torch.randint(12, (2,), generator=generator).tolist()
        mask[:, top : top + 11, left : left + 11] = 1
    noise = torch.randn(count, 3, 24, 24, generator=generator)
    images = 120 + 12 * masks + 4 * noise
    return images.round().clamp(0, 255) / 255, masks


@pytest.fixture(scope="session")
def victim() -> Victim:
    """Return a trained localizer; its modules must be left as they are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 5, padding=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 1, 3, padding=1),
        )
        spec = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.1, 0.1, 0.1), taps=("2",))
        forward = mask_forward(model, spec)
        images, masks = forged(32, seed=1)
        optimiser = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(60):
            optimiser.zero_grad()
            mask_loss(forward(images), masks).backward()
            optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return Victim(model.eval(), spec, forward, *forged(6, seed=2))
