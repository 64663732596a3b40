"""A tiny localizer with a weakness, a defence against it, and forged images for both."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, Labels, evaluate
from ansm_plugin.localizer.spec import LocalizerSpec

SPEC = LocalizerSpec(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


class ColourBlinded(nn.Module):
    """A forged pixel is a bright one; a red cast, which attackers can add, misleads it."""

    def __init__(self) -> None:
        """Make the gain a parameter, so that a gradient left behind would show."""
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(20.0))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        red_cast = inputs[:, :1] - inputs[:, 1:2]
        return self.gain * (inputs.mean(1, keepdim=True) - 0.5 + 5 * red_cast)


class Decolour(nn.Module):
    """A defence that works unless the attacker knows it: turns pixels grey."""

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        return (images.mean(1, keepdim=True) - images).clamp(-16 / 255, 16 / 255)


def forged_sample(count: int = 4, size: int = 16, seed: int = 0) -> Sample:
    """Return grey images, 0.02 above the threshold in a forged square and 0.02 below elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, 1, size, size)
    masks[:, :, 4:10, 3:9] = 1
    noise = 0.004 * torch.randn(count, 1, size, size, generator=generator)
    images = (0.5 + 0.02 * (2 * masks - 1) + noise).expand(-1, 3, -1, -1).clamp(0, 1)
    return Sample(images, masks, tuple(f"image {i}" for i in range(count)))


@pytest.fixture(name="sample")
def sample_fixture() -> Sample:
    return forged_sample()


@pytest.fixture(name="defended")
def defended_fixture() -> DefendedLocalizer[ColourBlinded]:
    return DefendedLocalizer(ColourBlinded(), Decolour(), SPEC).eval()


@pytest.fixture(name="untrained")
def untrained_fixture() -> DefendedLocalizer[ColourBlinded]:
    thin = Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=())
    return DefendedLocalizer(ColourBlinded(), ANSM(thin), SPEC).eval()


@pytest.fixture(name="quick")
def quick_fixture() -> EvaluationConfig:
    return EvaluationConfig(attacks=("pgd", "mifgsm"), eps_255=(4, 8), steps=3, white_box_steps=4)


@pytest.fixture(name="evaluation")
def evaluation_fixture(
    defended: DefendedLocalizer[ColourBlinded], sample: Sample, quick: EvaluationConfig
) -> Evaluation:
    labels = Labels(localizer="colour-blinded", ansm="decolour")
    return evaluate(defended, [sample], quick, labels=labels)


def authentic_sample(count: int = 4, size: int = 16, seed: int = 1) -> Sample:
    """Return grey images that nobody forged, 0.02 below the threshold."""
    generator = torch.Generator().manual_seed(seed)
    noise = 0.004 * torch.randn(count, 1, size, size, generator=generator)
    images = (0.48 + noise).expand(-1, 3, -1, -1).clamp(0, 1)
    masks = torch.zeros(count, 1, size, size)
    return Sample(images, masks, tuple(f"authentic {i}" for i in range(count)))
