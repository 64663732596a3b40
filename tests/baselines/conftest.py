"""A localizer that reads the noise level, forged images for it and attacks on it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.baselines import Examples
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec

SPEC = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), taps=("stem",))


class BrightnessLocalizer(nn.Module):
    """A forged pixel is brighter than 0.5; texture, which attackers add, looks bright too."""

    def __init__(self) -> None:
        """Start with the weights of what the class says: no training needed."""
        super().__init__()
        self.stem = nn.Conv2d(3, 3, 3, padding=1, padding_mode="replicate", bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.head = nn.Conv2d(3, 1, 1)
        signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 0.0, -1.0], [1.0, -1.0, 1.0]])
        with torch.no_grad():
            self.stem.weight.zero_()
            self.stem.weight[0, :, 1, 1] = 1 / 3
            self.stem.weight[1], self.stem.weight[2] = signs / 3, -signs / 3
            self.head.weight.copy_(torch.tensor([20.0, 12.0, 12.0]).view(1, 3, 1, 1))
            self.head.bias.fill_(-10.0)  # type: ignore[union-attr]

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        logits: Tensor = self.head(torch.relu(self.norm(self.stem(inputs))))
        return logits


def forged(count: int = 6, size: int = 32, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return smooth 8-bit images, 16 grey levels brighter in a square, and masks."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, size, size)
    for mask in masks:
        top, left = torch.randint(size // 2, (2,), generator=generator).tolist()
        mask[:, top : top + size // 2, left : left + size // 2] = 1
    grain = 0.5 * torch.randn(count, 3, size, size, generator=generator)
    images = 127.5 + 8 * (2 * masks - 1) + grain
    return images.round() / 255, masks


@pytest.fixture(name="defended")
def _defended() -> DefendedLocalizer[BrightnessLocalizer]:
    ansm = ANSM(Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=()))
    nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    return DefendedLocalizer(BrightnessLocalizer(), ansm, SPEC).eval()


@pytest.fixture(name="examples")
def _examples(defended: DefendedLocalizer[BrightnessLocalizer]) -> Examples:
    images, masks = forged()
    attacked = run_attack(
        mask_forward(defended.localizer, SPEC),
        images,
        masks,
        4 / 255,
        attack_spec("pgd", steps=5),
        generator=torch.Generator().manual_seed(0),
    )
    return Examples(images, masks, attacked)
