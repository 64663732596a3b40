"""The module itself: identity when fresh, bounded, any size, cheap enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from ansm_plugin.ansm import (
    ANSM,
    PRESETS,
    Architecture,
    add,
    architecture,
    cut,
    saturated_share,
)
from ansm_plugin.backbones.reference import build_architecture, packaged_ansm
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.weights.ansm_file import load_ansm

THIN = Architecture(unshuffle=2, widths=(8, 12), encoder_blocks=(1, 1), decoder_blocks=(1,))


def trained(arch: Architecture = THIN, scale: float = 5.0) -> ANSM:
    """Return a module whose last convolution is not zero."""
    ansm = ANSM(arch)
    nn.init.normal_(ansm.trunk.head.weight, std=scale)
    return ansm


def plain(ansm: ANSM, images: Tensor) -> Tensor:
    """Return what the module stands for, one operation after the other, nothing in place."""
    trunk, r = ansm.trunk, ansm.architecture.unshuffle
    x = functional.pixel_unshuffle(images - 0.5, r)
    skips = []
    for stage in trunk.down:
        x = plain_stage(stage, x)
        skips.append(x)
    for level in reversed(range(len(trunk.up))):
        doubled = functional.interpolate(trunk.lateral[level](x), scale_factor=2.0, mode="nearest")
        x = plain_stage(trunk.up[level], doubled + skips[level])
    raw = functional.pixel_shuffle(trunk.head(x), r)
    return ansm.architecture.bound_255 / 255 * torch.tanh(raw)


def plain_stage(stage: nn.Module, x: Tensor) -> Tensor:
    """Run a stage with weights in the ordinary layout and without writing into its maps."""
    for layer in stage.children():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight.contiguous()
            x = functional.conv2d(x, weight, layer.bias, layer.stride, layer.padding)
        else:
            x = torch.relu(x) if isinstance(layer, nn.ReLU) else layer(x)
    return x


def test_there_are_four_presets() -> None:
    assert set(PRESETS) == {"tiny", "small", "base", "hgd"}


@pytest.mark.parametrize("name", PRESETS)
def test_fresh_module_returns_exact_zeros(name: str) -> None:
    ansm = ANSM(name).eval()
    assert ansm.is_identity
    with torch.no_grad():
        assert not ansm(torch.rand(1, 3, 40, 33)).any()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (16, 16), (37, 53)])
def test_perturbation_has_the_size_of_the_image_and_stays_in_its_bound(
    size: tuple[int, int],
) -> None:
    delta = trained()(torch.rand(2, 3, *size))
    assert delta.shape == (2, 3, *size)
    assert delta.dtype == torch.float32
    assert 0 < delta.abs().max() <= 16 / 255 + 1e-7


def test_bound_follows_the_architecture() -> None:
    ansm = trained(replace(THIN, bound_255=4.0), scale=100.0)
    assert float(ansm(torch.rand(1, 3, 8, 8)).detach().abs().max()) == pytest.approx(4 / 255)


def test_folding_is_pixel_unshuffle_and_comes_back() -> None:
    images = torch.rand(2, 3, 8, 12)
    trunk = ANSM(THIN).trunk
    assert trunk.fold is not None
    assert trunk.unfold is not None
    folded: Tensor = trunk.fold(images)
    assert torch.equal(folded, functional.pixel_unshuffle(images, 2))
    assert torch.equal(trunk.unfold(folded), images)


def test_first_step_reaches_the_head_and_the_second_everything() -> None:
    ansm, images = ANSM(THIN), torch.rand(2, 3, 8, 8)
    optimiser = torch.optim.SGD(ansm.parameters(), lr=1.0)
    for _ in range(2):
        optimiser.zero_grad()
        (ansm(images) - 0.01).square().sum().backward()
        optimiser.step()
    assert not ansm.is_identity
    assert all(p.grad is not None and p.grad.any() for p in ansm.parameters())


def test_autocast_leaves_the_perturbation_in_fp32() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert trained()(torch.rand(1, 3, 8, 8)).dtype == torch.float32


@pytest.mark.parametrize("name", PRESETS)
def test_the_quick_path_equals_a_plain_one(name: str) -> None:
    ansm = ANSM(name).eval()
    nn.init.normal_(ansm.trunk.head.weight, std=0.2)
    images = torch.rand(2, 3, 48, 64)
    with torch.no_grad():
        torch.testing.assert_close(ansm(images), plain(ansm, images), rtol=0, atol=2e-6)


def test_the_quick_path_of_the_packaged_weights_equals_a_plain_one() -> None:
    ansm, images = load_ansm(packaged_ansm()), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = plain(ansm, images)
        assert expected.abs().max() > 1 / 255
        for given in (images, images.to(memory_format=torch.channels_last)):
            torch.testing.assert_close(ansm(given), expected, rtol=0, atol=2e-6)


def test_a_gradient_changes_no_bit() -> None:
    ansm, images = load_ansm(packaged_ansm()).eval(), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = ansm(images)
    assert torch.equal(ansm(images), expected)


def test_gradients_of_the_quick_path_equal_those_of_a_plain_one() -> None:
    ansm = trained()
    grads = []
    for forward in (ansm, lambda images: plain(ansm, images)):
        images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
        loss = forward(images.requires_grad_()).square().sum()
        grads.append(torch.autograd.grad(loss, [images, *ansm.parameters()]))
    for quick, slow in zip(*grads, strict=True):
        torch.testing.assert_close(quick, slow, rtol=1e-4, atol=1e-6)


def test_weights_are_kept_as_the_convolutions_want_them() -> None:
    """In another layout every forward pass would copy them first."""
    weights = [p for p in ANSM("small").parameters() if p.ndim == 4]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)


def test_bf16_inside_stays_bounded_and_close() -> None:
    ansm, images = load_ansm(packaged_ansm()), torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        exact = ansm(images)
        ansm.precision = "bf16"
        found = ansm(images)
    assert found.dtype == torch.float32
    assert found.abs().max() <= ansm.bound
    difference = (found - exact).abs() * 255
    assert 0 < difference.mean() < 0.2
    assert difference.max() < 4


def test_bf16_inside_leaves_a_fresh_module_exactly_zero() -> None:
    with torch.no_grad():
        assert not ANSM("small", precision="bf16")(torch.rand(1, 3, 16, 16)).any()


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ConfigError, match="allowed: fp32, bf16"):
        ANSM(THIN, precision="fp16")  # type: ignore[arg-type]


def test_repr_says_untrained_until_it_is_trained() -> None:
    assert "untrained: identity" in repr(ANSM(THIN))
    assert "untrained" not in repr(trained())
    assert "16/255" in repr(trained())
    assert "bf16" in repr(ANSM(THIN, precision="bf16"))


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match=r"\(B, 3, H, W\)"):
        ANSM(THIN)(torch.rand(shape))


def test_a_preset_may_be_changed_in_its_name() -> None:
    changed = ANSM("small?bound_255=8&norm=batch&widths=8,16,32").architecture
    assert (changed.bound_255, changed.norm, changed.widths) == (8, "batch", (8, 16, 32))
    assert changed.unshuffle == PRESETS["small"].unshuffle
    assert ANSM("small?norm=none").architecture == PRESETS["small"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small?bond_255=8", "unknown field of a preset 'bond_255'. Nearest: bound_255"),
        ("small?bound_255=x", "preset 'small[?]bound_255=x'"),
        ("small?norm=layer", "norm is 'layer'; allowed: none, batch"),
        ("small?widths=64", "preset 'small[?]widths=64'"),
        ("small?widths", "bad query field: 'widths'"),
    ],
)
def test_wrong_changes_of_a_preset_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ANSM(name)


def test_unknown_preset_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Nearest: small"):
        architecture("smal")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bound_255": 0.0}, "bound_255 is 0"),
        ({"bound_255": 256.0}, "at most 255"),
        ({"unshuffle": 0}, "must be positive"),
        ({"widths": ()}, "must be positive"),
        ({"encoder_blocks": (1,)}, "encoder_blocks"),
        ({"decoder_blocks": (1, 1)}, "decoder_blocks"),
    ],
)
def test_impossible_architectures_are_refused(change: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        replace(THIN, **change)  # type: ignore[arg-type]


def test_batch_norm_is_there_only_when_asked_for() -> None:
    def norms(norm: str) -> int:
        ansm = ANSM(replace(THIN, norm=norm))  # type: ignore[arg-type]
        return sum(isinstance(m, nn.BatchNorm2d) for m in ansm.modules())

    assert norms("none") == 0
    assert norms("batch") == 3


def test_saturated_share_counts_entries_beyond_the_threshold() -> None:
    raw = torch.tensor([0.0, 1.9, 2.1, -3.0])
    assert saturated_share(raw) == 0.5
    assert saturated_share(raw, threshold=2.5) == 0.25


def test_both_forms_of_the_equation_agree_and_keep_the_range(generator: torch.Generator) -> None:
    """clip(x + delta) as an image and as what is added; the difference is rounding alone."""
    pixels = torch.rand(2, 3, 40, 40, generator=generator).mul(1.4).sub(0.2).clamp(0, 1)
    delta = 0.2 * torch.randn(pixels.shape, generator=generator)
    added, kept = add(pixels, delta), cut(pixels, delta)
    assert float(added.min()) == 0
    assert float(added.max()) == 1
    torch.testing.assert_close(pixels + kept, added, rtol=0, atol=1.2e-7)
    inside = (pixels + delta > 1e-6) & (pixels + delta < 1 - 1e-6)
    assert 0 < int(inside.sum()) < inside.numel()
    assert torch.equal(kept[inside], delta[inside])
    assert torch.equal(cut(pixels, torch.zeros_like(pixels)), torch.zeros_like(pixels))


def gmac(build: object) -> float:
    """Return 10^9 multiply-adds at 512x512, counted without computing."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        build().eval()(torch.rand(1, 3, 512, 512))  # type: ignore[operator]
    return float(counter.get_total_flops()) / 2e9


@pytest.mark.parametrize(("name", "limit"), [("tiny", 0.12), ("small", 0.2), ("base", 0.6)])
def test_presets_keep_their_cost_limits(name: str, limit: float) -> None:
    yardstick = gmac(lambda: build_architecture("smp:Unet?encoder_name=resnet34"))
    assert gmac(lambda: ANSM(name)) <= limit * yardstick
