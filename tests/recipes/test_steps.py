"""What a step leaves out, and that this changes no number."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.taps import taps
from ansm_plugin.recipes.branches import BranchTarget
from ansm_plugin.recipes.ffa import Features
from ansm_plugin.recipes.localizer import make_residual
from ansm_plugin.recipes.mgr import Mgr, branch_masks, clean_masks
from ansm_plugin.recipes.stage import Pairs
from ansm_plugin.training.targets import Target


class Twice(nn.Module):
    """Calls a shared convolution twice, then a costly head that no tap needs."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.shared = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Conv2d(4, 1, 1)
        self.heads = 0

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        features = self.shared(torch.relu(self.shared(self.stem(images))))
        self.heads += 1
        logits: Tensor = self.head(features)
        return logits


@pytest.mark.filterwarnings("ignore:.*does not say how its input is normalised")
def test_features_are_those_of_a_whole_pass_without_its_end() -> None:
    localizer = Twice()
    forward = mask_forward(localizer, describe(localizer))
    localizer.heads = 0  # describing it may run it
    names = ("shared", "stem")
    features, images = Features(localizer, names, forward), torch.rand(2, 3, 8, 8)
    for heads in (1, 1, 1):  # the first pass alone goes to the end
        found = features(images.requires_grad_())
        assert localizer.heads == heads
        with taps(localizer, names) as expected:
            forward(images)
        localizer.heads -= 1
        assert [f.shape for f in found] == [(2, 4, 64)] * 2
        for name, feature in zip(names, found, strict=True):
            assert torch.equal(feature, expected[name])
            gradients = (
                torch.autograd.grad(f.square().sum(), images, retain_graph=True)[0]
                for f in (feature, expected[name])
            )
            assert torch.equal(*gradients)
    assert not any(m._forward_hooks for m in localizer.modules())


def test_hooks_go_away_when_the_localizer_fails() -> None:
    localizer = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(5, 1, 1))
    features = Features(localizer, ("0",), localizer)
    with pytest.raises(RuntimeError):
        features(torch.rand(1, 3, 8, 8))
    assert not any(m._forward_hooks for m in localizer.modules())


def test_clean_masks_are_made_for_all_crops() -> None:
    images = torch.randint(256, (70, 3, 4, 4), dtype=torch.uint8)
    masks = clean_masks(lambda pixels: pixels[:, :1] - 0.5, images)
    assert masks.dtype == torch.uint8
    assert torch.equal(masks, (images[:, :1] > 127.5).to(torch.uint8))


def test_a_residual_stem_sees_no_constant() -> None:
    localizer = Twice()
    make_residual(localizer, 5.0)
    assert localizer.stem.weight.abs().sum() > 1
    seen = localizer.stem(torch.full((1, 3, 5, 5), 0.7))[..., 2, 2]
    torch.testing.assert_close(seen[0], localizer.stem.bias)


def test_a_residual_stem_needs_a_convolution_on_images() -> None:
    with pytest.raises(LocalizerError, match="Leave residual_stem at 0"):
        make_residual(nn.Linear(3, 1), 5.0)


@pytest.mark.parametrize(
    ("target", "of_attacked", "of_originals"),
    [("ground_truth", 1, 1), ("localizer", 0, 0), ("mixed", 1, 0), ("independent", 0, 0)],
)
def test_each_branch_is_held_against_its_mask(
    target: BranchTarget, of_attacked: int, of_originals: int
) -> None:
    """The localizer here finds nothing, the truth is forged everywhere."""
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    pairs = Pairs(images, torch.ones(3, 1, 8, 8, dtype=torch.uint8), images)
    masks = branch_masks(Mgr(target=target), lambda x: x[:, :1] - 1, pairs)
    assert masks.shape == (3, 2, 8, 8)
    assert masks.dtype == torch.uint8
    assert masks[:, 0].unique().tolist() == [of_attacked]
    assert masks[:, 1].unique().tolist() == [of_originals]


def test_the_truth_is_asked_of_attacked_crops_whose_noise_cannot_carry_it() -> None:
    images = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)
    pairs = Pairs(images, torch.ones(4, 1, 8, 8, dtype=torch.uint8), images)
    names = (Target("truth"), Target("blob"), Target("other", towards=True), Target("mirror"))
    codes = torch.tensor([target.code for target in names], dtype=torch.uint8)
    masks = branch_masks(Mgr(target="independent"), lambda x: x[:, :1] - 1, pairs, codes)
    assert masks[:, 0, 0, 0].tolist() == [0, 1, 1, 0]
    assert not masks[:, 1].any()
    own = branch_masks(Mgr(target="localizer"), lambda x: x[:, :1] - 1, pairs, codes)
    assert not own.any()
