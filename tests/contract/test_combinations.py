"""What holds for every localizer: identity when fresh, gradients, taps, normalisation, sizes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from ansm_plugin import DefendedLocalizer, unwrap, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.backbones.reference import build_architecture
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.taps import taps
from ansm_plugin.training.losses import channelwise_kl

# Which weights its constants are those of, nobody says here; tests/localizer asks.
pytestmark = pytest.mark.filterwarnings("ignore:the SMP encoder efficientnet-b0 was trained")

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
Defended = DefendedLocalizer[nn.Module]


def test_a_combination_keeps_the_contract(combination: Any) -> None:
    localizer = combination.build()
    modes = [module.training for module in localizer.modules()]
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN))
    side = 128 if "PAN" in combination.name else 64
    pixels = torch.rand(1, 3, side, side)
    check_normalisation(defended, combination.mean, combination.source)
    check_a_fresh_wrap_changes_no_bit(defended, pixels)
    nn.init.normal_(defended.ansm.trunk.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    check_gradients(defended, pixels)
    check_taps(defended, pixels)
    check_any_size(defended)
    assert unwrap(defended) is localizer
    assert [module.training for module in localizer.modules()] == modes


def check_normalisation(defended: Defended, mean: tuple[float, ...], source: str) -> None:
    """The spec has the mean of the encoder and says where it comes from."""
    assert defended.spec.mean == pytest.approx(mean)
    assert source in defended.spec.normalisation


def check_a_fresh_wrap_changes_no_bit(defended: Defended, pixels: Tensor) -> None:
    """The output equals that of the localizer alone."""
    inputs = defended.spec.normalise(pixels)
    with torch.no_grad():
        assert torch.equal(defended(inputs), defended.localizer(inputs))


def check_gradients(defended: Defended, pixels: Tensor) -> None:
    """Gradients reach image and ANSM; no parameter of the localizer asks for one."""
    inputs = defended.spec.normalise(pixels).requires_grad_()
    wanted = [inputs, *defended.ansm.parameters()]
    gradients = torch.autograd.grad(defended(inputs).sum(), wanted)
    assert all(bool(g.isfinite().all()) for g in gradients)
    assert all(bool(g.any()) for g in (gradients[0], gradients[-1]))
    assert not any(p.requires_grad for p in defended.localizer.parameters())


def check_taps(defended: Defended, pixels: Tensor) -> None:
    """Two stages of real channels over a grid of pixels, that tell two images apart."""
    found = []
    for images in (pixels, pixels.flip(-1)):
        with taps(defended.localizer, defended.spec.taps) as features:
            defended.localizer(defended.spec.normalise(images))
        found.append(list(features.values()))
    assert len(found[0]) == 2
    for feature in found[0]:
        _, channels, pixels_N = feature.shape
        assert channels > 3  # neither empty nor the image itself
        assert 1 < pixels_N < pixels[0, 0].numel()
        assert math.isqrt(pixels_N) ** 2 == pixels_N  # no prefix tokens between the pixels
        assert bool(feature.std(-1).any())
    distance = float(channelwise_kl(*found))
    assert math.isfinite(distance)
    assert distance > 0


def check_any_size(defended: Defended) -> None:
    """Masks have the size of the image, whatever that is."""
    forward = mask_forward(defended, defended.spec)
    for size in ((37, 50), (5, 9)):
        with torch.no_grad():
            assert forward(torch.rand(1, 3, *size)).shape == (1, 1, *size)


# --- what SMP refuses -----------------------------------------------------------------------------


def test_what_smp_refuses_is_refused_with_its_reason(refusal: tuple[str, str]) -> None:
    name, reason = refusal
    with pytest.raises(LocalizerError, match=reason):
        build_architecture(name)


def test_no_combination_is_left_out(
    counts: dict[str, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert counts["architectures"] == len(smp.MODEL_ARCHITECTURES_MAPPING) == 12
    assert counts["sampled architectures"] == counts["architectures"]
    assert counts["sampled encoders"] == counts["encoders"] == 9
    assert counts["smp"] + counts["refused"] + counts["broken"] == counts["pairs"] == 108
    assert counts["refused"] == (21 if counts["broken"] else 24)
    assert counts["timm"] + counts["timm that old releases lack"] == 17
    assert counts["timm"] >= 15
    with capsys.disabled():
        print(f"\ncontract suite: {counts}")
