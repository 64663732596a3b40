"""Folding BatchNorms: the same mask and gradient, the user's localizer as it was."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.folding import folded
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint

SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def norms(module: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def uneven(norm: nn.BatchNorm2d) -> nn.BatchNorm2d:
    """Return the norm with statistics and factors that differ from channel to channel."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.normal_(norm.running_mean)
    nn.init.uniform_(norm.running_var, 0.5, 2)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    return norm


class Forked(nn.Module):
    """One BatchNorm can be folded; of the others the input is needed elsewhere too, or twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), uneven(nn.BatchNorm2d(4)))
        self.fork = nn.Conv2d(4, 4, 1)
        self.first, self.second = (uneven(nn.BatchNorm2d(4)) for _ in range(2))
        self.twice = nn.Conv2d(4, 4, 1)
        self.third = uneven(nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        x = self.fork(self.stem(images).relu())
        x = self.first(x) + self.second(x)
        mask: Tensor = self.head(self.third(self.twice(self.twice(x))))
        return mask


class Remembered(nn.Module):
    """What the convolution returned is used behind the BatchNorm as well."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 1, 3, padding=1), uneven(nn.BatchNorm2d(1))

    def forward(self, images: Tensor) -> Tensor:
        x = self.conv(images)
        total: Tensor = x + self.norm(x)
        return total


def test_the_embedded_localizer_keeps_mask_and_gradient() -> None:
    localizer = build_localizer("forensic-unet")
    spec, before = describe(localizer), fingerprint(localizer)
    quick = folded(localizer, spec)
    assert (norms(localizer), norms(quick)) == (30, 0)
    assert fingerprint(localizer) == before
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    logits, gradients = [], []
    for model in (localizer, quick):
        leaf = pixels.clone().requires_grad_()
        logits.append(mask_forward(model, spec)(leaf))
        gradients.append(torch.autograd.grad(logits[-1].square().mean(), leaf)[0])
    largest = float(logits[0].detach().abs().max())
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-5 * largest)
    torch.testing.assert_close(
        gradients[1], gradients[0], rtol=1e-3, atol=1e-4 * float(gradients[0].abs().max())
    )


def test_only_a_batchnorm_that_alone_sees_its_convolution_is_folded() -> None:
    torch.manual_seed(0)
    localizer = Forked().eval()
    quick = folded(localizer, SPEC)
    assert (norms(localizer), norms(quick)) == (4, 3)
    pixels = torch.rand(1, 3, 20, 24)
    with torch.no_grad():
        one, two = (mask_forward(model, SPEC)(pixels) for model in (localizer, quick))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-4)


def test_where_the_copy_would_differ_the_localizer_comes_back() -> None:
    torch.manual_seed(0)
    localizer = Remembered().eval()
    assert folded(localizer, SPEC) is localizer


@pytest.mark.parametrize(
    "localizer", [nn.Conv2d(3, 1, 1), nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1)).train()]
)
def test_without_a_frozen_batchnorm_the_localizer_comes_back(localizer: nn.Module) -> None:
    assert folded(localizer, SPEC) is localizer


def test_a_localizer_that_refuses_the_image_comes_back() -> None:
    localizer = nn.Sequential(nn.Flatten(), nn.Linear(7, 1)).eval()
    assert folded(localizer, SPEC) is localizer
