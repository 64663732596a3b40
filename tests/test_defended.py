"""A defended localizer changes nothing but its input, within a bound; outputs of any kind pass."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import segmentation_models_pytorch as smp
import torch
from support.thin_pairs import *  # noqa: F403 - fixtures, found by their names
from support.thin_pairs import PLAIN, thin
from torch import Tensor, nn

from ansm_plugin import DefendedLocalizer, LocalizerSpec, wrap_with_ansm
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.errors import ImageError, LocalizerError

IMAGENET = LocalizerSpec()
HALF = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
every_range = pytest.mark.parametrize("spec", [PLAIN, IMAGENET, HALF])


@every_range
def test_a_fresh_wrap_returns_bit_for_bit_what_the_localizer_returns(
    tiny: nn.Module, pixels: Tensor, spec: LocalizerSpec
) -> None:
    inputs = spec.normalise(pixels)
    expected = tiny.eval()(inputs)
    assert torch.equal(wrap_with_ansm(tiny, spec=spec)(inputs), expected)


@every_range
def test_a_fresh_wrap_keeps_inputs_beyond_the_pixel_range(
    tiny: nn.Module, pixels: Tensor, spec: LocalizerSpec
) -> None:
    """Resampling overshoots black and white; such values pass unchanged too."""
    inputs = spec.normalise(pixels * 1.4 - 0.2)
    assert torch.equal(wrap_with_ansm(tiny, spec=spec).suppress(inputs), inputs)


def test_a_fresh_wrap_of_an_smp_model_changes_no_bit(unet: smp.Unet, pixels: Tensor) -> None:
    for inputs in (IMAGENET.normalise(pixels), torch.randn(1, 3, 64, 32)):
        expected = unet.eval()(inputs)
        assert torch.equal(wrap_with_ansm(unet)(inputs), expected)


def test_sizes_that_the_localizer_refuses_are_padded_and_cropped(pixels: Tensor) -> None:
    localizer = smp.FPN("resnet18", encoder_weights=None)
    with pytest.raises(RuntimeError, match="Wrong input shape"):
        localizer(pixels)
    assert wrap_with_ansm(localizer)(pixels).shape == (2, 1, 37, 50)


def test_an_image_too_small_to_reflect_is_replicated(unet: smp.Unet) -> None:
    assert wrap_with_ansm(unet)(torch.rand(1, 3, 5, 9)).shape == (1, 1, 5, 9)


@every_range
def test_the_perturbation_is_bounded_and_keeps_pixels_in_range(
    tiny: nn.Module, pixels: Tensor, spec: LocalizerSpec
) -> None:
    defended = wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=spec)
    pixels = pixels.mul(1.4).sub(0.2).clamp(0, 1)  # many pixels at black and white
    delta = defended.perturbation(spec.normalise(pixels)).detach()
    assert bool(delta.any())
    assert bool((delta.abs() <= torch.tensor(16 / 255)).all())
    suppressed = spec.denormalise(defended.suppress(spec.normalise(pixels))).detach()
    assert float(suppressed.min()) >= -1e-6
    assert float(suppressed.max()) <= 1 + 1e-6
    torch.testing.assert_close(suppressed, pixels + delta, rtol=0, atol=1e-6)


@every_range
def test_the_view_in_pixels_gives_what_normalised_inputs_give(
    tiny: nn.Module, pixels: Tensor, spec: LocalizerSpec
) -> None:
    """Bit for bit: figures of evaluations were measured through the normalisation."""
    score = AttackScore(weights=(0.0,) * len(FEATURES), bias=1.0)
    for pair in (
        wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=spec),
        DefendedLocalizer(tiny, thin(is_trained=True), spec, score=score, gate=True).eval(),
    ):
        inputs = spec.normalise(pixels)
        delta = pair.perturbation(inputs)
        assert bool(delta.any())
        assert torch.equal(pair.pixels.perturbation(pixels), delta)
        assert torch.equal(pair.pixels.suppress(pixels), pixels + delta)
        for found, wanted in zip(pair.pixels.examine(pixels), pair.examine(inputs), strict=True):
            assert torch.equal(found, wanted)


def test_the_localizer_gets_the_suppressed_image(tiny: nn.Module, pixels: Tensor) -> None:
    defended = wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=PLAIN)
    suppressed = (pixels + defended.ansm(pixels)).clamp(0, 1)
    torch.testing.assert_close(defended(pixels), tiny(suppressed))
    assert not torch.equal(defended(pixels), tiny(pixels))


def test_the_input_is_not_changed_in_place(tiny: nn.Module, pixels: Tensor) -> None:
    before = pixels.clone()
    wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=PLAIN)(pixels)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_localizer_gets_its_own_dtype(
    tiny: nn.Module, pixels: Tensor, dtype: torch.dtype
) -> None:
    defended = wrap_with_ansm(tiny.to(dtype), ansm=thin(), spec=IMAGENET)
    inputs = IMAGENET.normalise(pixels).to(dtype)
    assert torch.equal(defended.suppress(inputs), inputs)
    assert defended(inputs).dtype is dtype


def test_autocast_does_not_round_the_perturbation(tiny: nn.Module, pixels: Tensor) -> None:
    defended = wrap_with_ansm(tiny, spec=IMAGENET)
    inputs = IMAGENET.normalise(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(defended.suppress(inputs), inputs)


def test_what_the_localizer_is_called_with_and_returns_passes_through(pixels: Tensor) -> None:
    class Rich(nn.Module):
        """Returns a dict of a mask, a small feature and a scalar; takes further arguments."""

        def forward(self, inputs: Tensor, gain: float, *, bias: float = 0.0) -> dict[str, Any]:
            mask = gain * inputs.mean(1, keepdim=True) + bias
            return {"pred_mask": mask, "parts": (mask[..., ::4, ::4], mask), "loss": mask.mean()}

    spec = LocalizerSpec(mean=PLAIN.mean, std=PLAIN.std, stride=8)
    output = wrap_with_ansm(Rich(), ansm=thin(), spec=spec)(pixels, 2.0, bias=0.5)
    torch.testing.assert_close(output["pred_mask"], 2 * pixels.mean(1, keepdim=True) + 0.5)
    assert isinstance(output["parts"], tuple)
    assert [p.shape[-2:] for p in output["parts"]] == [(10, 13), (37, 50)]
    assert output["loss"].ndim == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_pixels_that_are_no_numbers_are_refused(
    tiny: nn.Module, pixels: Tensor, bad: float
) -> None:
    pixels[1, 2, 3, 4] = bad
    with pytest.raises(ImageError, match="NaN or infinite"):
        wrap_with_ansm(tiny, ansm=thin(), spec=PLAIN)(pixels)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 1, 8, 8), (1, 4, 8, 8), (1, 8, 8, 3)])
def test_another_shape_than_colour_images_is_refused(
    tiny: nn.Module, shape: tuple[int, ...]
) -> None:
    defended = wrap_with_ansm(tiny, ansm=thin(), spec=PLAIN)
    with pytest.raises(ImageError, match=r"it takes a tensor \(B, 3, H, W\)"):
        defended(torch.rand(shape))


def test_something_else_than_a_tensor_is_refused(tiny: nn.Module) -> None:
    with pytest.raises(ImageError, match=r"given list; it takes a tensor \(B, 3, H, W\)"):
        wrap_with_ansm(tiny, ansm=thin(), spec=PLAIN)([[0.0]])


def test_an_image_on_another_device_is_refused(tiny: nn.Module, pixels: Tensor) -> None:
    with pytest.raises(LocalizerError, match=r"on meta, the defended localizer on cpu; move"):
        wrap_with_ansm(tiny, ansm=thin(), spec=PLAIN)(pixels.to("meta"))


class Named(NamedTuple):
    """A structured output."""

    mask: Tensor
    label: Tensor


class Structured(nn.Module):
    """Return a mask and a label the way some localizers do; takes multiples of 8 only."""

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, images: Tensor) -> Any:
        assert images.shape[-1] % 8 == images.shape[-2] % 8 == 0
        mask = images.mean(1, keepdim=True)
        label = mask.mean((2, 3))
        return {
            "tuple": (mask, label),
            "list": [mask, label],
            "dict": {"pred_mask": mask, "pred_label": label},
            "named": Named(mask, label),
        }[self.shape]


@pytest.mark.parametrize("shape", ["tuple", "list", "dict", "named"])
@pytest.mark.parametrize("size", [(8, 16), (5, 11), (1, 1)])
def test_structured_outputs_keep_their_type_and_are_cropped(
    shape: str, size: tuple[int, int]
) -> None:
    spec = LocalizerSpec(mean=PLAIN.mean, std=PLAIN.std, stride=8)
    images = torch.rand(2, 3, *size)
    output = wrap_with_ansm(Structured(shape), ansm=thin(), spec=spec)(images)
    kinds = {"tuple": tuple, "list": list, "dict": dict, "named": Named}
    assert type(output) is kinds[shape]
    mask, label = output.values() if isinstance(output, dict) else output
    assert torch.equal(mask, images.mean(1, keepdim=True))
    assert label.shape == (2, 1)


def test_an_smp_model_with_a_classification_head_stays_a_pair() -> None:
    model = smp.FPN("resnet18", encoder_weights=None, aux_params={"classes": 2})
    mask, label = wrap_with_ansm(model, ansm=thin())(torch.rand(1, 3, 50, 40))
    assert (mask.shape, label.shape) == ((1, 1, 50, 40), (1, 2))


def test_compiled_and_exported_do_the_same(tiny: nn.Module, pixels: Tensor) -> None:
    defended = wrap_with_ansm(tiny, ansm=thin(is_trained=True), spec=IMAGENET)
    expected = defended(pixels)
    compiled = torch.compile(defended, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(pixels), expected)
    exported = torch.export.export(defended, (pixels,)).module()
    torch.testing.assert_close(exported(pixels), expected)
