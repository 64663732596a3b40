"""What we know of a localizer: normalisation, where the mask is, any size."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.errors import ConfigError, ImageError, LocalizerError
from ansm_plugin.localizer.call import call_padded, mask_forward, require_pixels
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import IMAGENET_MEAN, LocalizerSpec
from ansm_plugin.localizer.traits import find_normalisation, fingerprint


def test_normalise_and_denormalise_are_inverse(tiny_spec: LocalizerSpec) -> None:
    pixels = torch.rand(2, 3, 4, 4)
    normalised = tiny_spec.normalise(pixels)
    torch.testing.assert_close(normalised[:, 1], (pixels[:, 1] - 0.4) / 0.3)
    torch.testing.assert_close(tiny_spec.denormalise(normalised), pixels)


@pytest.mark.parametrize(
    "wrong", [{"mean": (0.5, 0.5)}, {"std": (1.0, 1.0, 0.0)}, {"std": (1.0, 1.0)}, {"stride": 0},
     {"smallest": 0}],
)  # fmt: skip
def test_impossible_specs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LocalizerSpec(**wrong)


# --- where the mask is ----------------------------------------------------------------------------

MASK = torch.randn(2, 1, 4, 4)


@pytest.mark.parametrize(
    ("output", "key"),
    [
        (MASK, None),
        (MASK[:, 0], None),
        ((MASK, torch.rand(2, 1)), None),
        ([torch.rand(2, 1), MASK], 1),
        ({"loss": torch.tensor(0.0), "pred_mask": MASK}, None),
        ({"out": MASK}, None),
        ({"edges": torch.rand(2, 1, 4, 4), "final": MASK}, "final"),
        (SimpleNamespace(logits=MASK), None),
        (SimpleNamespace(final=MASK), "final"),
    ],
)
def test_the_mask_is_found_in_every_kind_of_output(output: Any, key: Any) -> None:
    assert torch.equal(LocalizerSpec(mask_key=key).mask_logits(output, (4, 4)), MASK)


@pytest.mark.parametrize(
    ("output", "key", "said"),
    [
        (torch.rand(2, 10), None, r"shape \(2, 10\)"),
        ({"label": torch.rand(2, 1)}, None, r"keys \['label'\]"),
        ({"pred_mask": MASK}, "final", "pred_mask"),
        ((), None, "tuple"),
        ((MASK,), 3, "tuple"),
        ((MASK,), "mask", "tuple"),
        (None, None, "NoneType"),
    ],
)
def test_an_output_without_a_mask_is_described(output: Any, key: Any, said: str) -> None:
    with pytest.raises(LocalizerError, match=rf"{said}.*mask_key"):
        LocalizerSpec(mask_key=key).mask_logits(output, (4, 4))


def test_probabilities_become_logits() -> None:
    spec = LocalizerSpec(activation="sigmoid")
    torch.testing.assert_close(spec.mask_logits(torch.sigmoid(MASK), (4, 4)), MASK)
    assert torch.isfinite(spec.mask_logits(torch.zeros(1, 1, 2, 2), (2, 2))).all()


@pytest.mark.parametrize("channels", [2, 3])
@pytest.mark.parametrize("activation", ["logits", "softmax"])
def test_several_classes_become_the_log_odds_of_the_tampered_one(
    channels: int, activation: Any
) -> None:
    logits = torch.randn(2, channels, 4, 4)
    spec = LocalizerSpec(activation=activation, tamper_class=1)
    found = spec.mask_logits(logits if activation == "logits" else logits.softmax(1), (4, 4))
    torch.testing.assert_close(torch.sigmoid(found)[:, 0], logits.softmax(1)[:, 1])


def test_a_tampered_class_beyond_the_channels_is_refused() -> None:
    with pytest.raises(LocalizerError, match="tamper_class is 2, but the mask has 2 channels"):
        LocalizerSpec(tamper_class=2).mask_logits(torch.rand(1, 2, 4, 4), (4, 4))


def test_a_mask_of_another_size_is_resized_in_fp32() -> None:
    mask = LocalizerSpec().mask_logits(torch.rand(1, 1, 4, 4).bfloat16(), (8, 12))
    assert mask.shape == (1, 1, 8, 12)
    assert mask.dtype == torch.float32


# --- any size -------------------------------------------------------------------------------------


def test_sizes_that_fit_are_not_touched() -> None:
    inputs = torch.rand(1, 3, 8, 16)
    assert call_padded(lambda x: x, inputs, 8) is inputs


def test_padding_reflects_at_the_right_and_bottom_edge() -> None:
    seen: list[Tensor] = []
    call_padded(lambda x: seen.append(x) or x, torch.rand(1, 3, 6, 7), 8)  # type: ignore[func-returns-value]
    assert seen[0].shape == (1, 3, 8, 8)
    assert torch.equal(seen[0][..., :6, 7], seen[0][..., :6, 5])
    assert torch.equal(seen[0][..., 6, :7], seen[0][..., 4, :7])


def test_images_too_small_to_reflect_are_replicated() -> None:
    output = call_padded(lambda x: {"m": x, "n": 3}, torch.rand(1, 3, 2, 2), 16)
    assert output["m"].shape == (1, 3, 2, 2)
    assert output["n"] == 3


@pytest.mark.parametrize(
    ("size", "padded"), [((5, 9), (32, 32)), ((33, 9), (40, 32)), ((40, 48), (40, 48))]
)
def test_images_are_padded_to_the_smallest_size(
    size: tuple[int, int], padded: tuple[int, int]
) -> None:
    seen: list[tuple[int, ...]] = []

    def localizer(images: Tensor) -> Tensor:
        seen.append(tuple(images.shape[-2:]))
        return images

    assert call_padded(localizer, torch.rand(1, 3, *size), 8, 32).shape[-2:] == size
    assert seen == [padded]


def test_mask_forward_maps_pixels_to_logits(tiny: nn.Module, tiny_spec: LocalizerSpec) -> None:
    pixels = torch.rand(2, 3, 8, 8)
    expected = tiny.eval()(tiny_spec.normalise(pixels))
    torch.testing.assert_close(mask_forward(tiny, tiny_spec)(pixels), expected)
    rough = mask_forward(tiny, tiny_spec, precision="bf16")(pixels)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, expected, atol=0.1, rtol=0.1)


def test_a_localizer_that_cannot_take_the_size_is_named(tiny_spec: LocalizerSpec) -> None:
    picky = nn.Conv2d(3, 1, 9)
    with pytest.raises(LocalizerError, match=r"Conv2d failed on 6x5 pixels.*9"):
        mask_forward(picky, tiny_spec)(torch.rand(1, 3, 5, 6))


# --- identity -------------------------------------------------------------------------------------


def test_fingerprint_follows_the_values_alone(tiny: nn.Module) -> None:
    before = fingerprint(tiny)
    assert fingerprint(copy.deepcopy(tiny).to(memory_format=torch.channels_last)) == before
    tiny.head.bias.data[0] += 1e-6  # type: ignore[union-attr, index]
    assert fingerprint(tiny) != before
    assert len(before) == 64


def test_fingerprint_tells_names_and_dtypes_apart() -> None:
    linear = nn.Linear(2, 2)
    assert fingerprint(nn.Sequential(linear)) != fingerprint(linear)
    assert fingerprint(copy.deepcopy(linear).bfloat16()) != fingerprint(linear)


# --- normalisation --------------------------------------------------------------------------------


def test_normalisation_is_found_in_a_submodule() -> None:
    model = nn.Sequential(nn.Identity(), nn.Conv2d(3, 1, 1))
    model[1].pretrained_cfg = {"mean": [0.1, 0.2, 0.3], "std": (0.4, 0.5, 0.6)}
    assert find_normalisation(model) == (
        (0.1, 0.2, 0.3),
        (0.4, 0.5, 0.6),
        "pretrained_cfg of 1",
    )


def test_unknown_normalisation_is_assumed_with_a_warning(tiny: nn.Module) -> None:
    with pytest.warns(UserWarning, match=r"TinyLocalizer does not say.*LocalizerSpec"):
        spec = describe(tiny)
    assert spec.family == "plain"
    assert spec.mean == IMAGENET_MEAN
    assert spec.normalisation == "assumed ImageNet"


# --- pixels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pixels", "said"),
    [
        (torch.rand(3, 4, 4), r"shape \(3, 4, 4\)"),
        (torch.rand(1, 4, 4, 4), r"shape \(1, 4, 4, 4\)"),
        (torch.full((1, 3, 2, 2), float("nan")), "NaN"),
        (torch.full((1, 3, 2, 2), 255.0), "Divide 8-bit pixels by 255"),
        (torch.full((1, 3, 2, 2), -0.1), r"spans \[-0.1"),
    ],
)
def test_pixels_are_checked(pixels: Tensor, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        require_pixels(pixels)


def test_good_pixels_pass() -> None:
    require_pixels(torch.rand(1, 3, 2, 2))
