"""The door of the attacks: images, masks, radii and generators that cannot be used are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.four_attacks import (
    EPS,
    SPEC,
    Attack,
    by_apgd,
    by_gradient,
    by_library,
    by_scores,
    case,
    localizer,
)
from torch import Tensor

from ansm_plugin.attacks.door import require_generator
from ansm_plugin.attacks.features import feature_forward
from ansm_plugin.errors import AnsmError, ConfigError, ImageError

ATTACKS = pytest.mark.parametrize("attack", [by_gradient, by_apgd, by_scores, by_library])
SEEDED = pytest.mark.parametrize("attack", [by_gradient, by_apgd, by_scores])

BAD_IMAGES: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "0..255": (lambda x: x * 255, "Divide 8-bit pixels by 255"),
    "-1..1": (lambda x: 2 * x - 1, "look normalised.*denormalise"),
    "ImageNet's": (lambda x: (x - 0.45) / 0.225, "look normalised.*denormalise"),
    "uint8": (lambda x: (x * 255).to(torch.uint8), r"images.float\(\) / 255"),
    "int64": (lambda x: (x * 255).long(), r"images.float\(\) / 255"),
    "bool": (lambda x: x > 0.5, r"images.float\(\) / 255"),
    "16 bit": (lambda x: x * 65535, "allowed: \\[0, 1\\]"),
    "half of 0..255": (lambda x: (x * 255).half(), "Divide"),
    "NaN": (lambda x: x.clone().index_fill_(0, torch.tensor([1]), float("nan")), "NaN"),
    "infinite": (lambda x: x / 0, "NaN or infinite"),
    "no batch": (lambda x: x[0], r"images\[None\]"),
    "grey": (lambda x: x[:, :1], "allowed: \\(B, 3, H, W\\)"),
    "channels last": (lambda x: x.permute(0, 2, 3, 1), "allowed: \\(B, 3, H, W\\)"),
    "an array": (lambda x: x.numpy(), "ndarray"),
}
BAD_MASKS: dict[str, tuple[Callable[[Tensor], Any], str]] = {
    "0/255": (lambda m: m * 255, r"from 0 to 255. Give \(masks > 0\)"),
    "uint8 0/255": (lambda m: (m * 255).to(torch.uint8), r"Give \(masks > 0\)"),
    "labels": (lambda m: m * 2, r"Give \(masks > 0\)"),
    "soft": (lambda m: m * 0.7, r"Give \(masks > 0.5\)"),
    "signs": (lambda m: 2 * m - 1, "from -1 to 1"),
    "NaN": (lambda m: m * float("nan"), "other values"),
    "no channel": (lambda m: m[:, 0], r"unsqueeze\(1\)"),
    "two channels": (lambda m: torch.cat([1 - m, m], 1), r"masks\[:, 1:2\]"),
    "one for all": (lambda m: m[:1], r"need \(2, 1, 8, 10\)"),
    "too many": (lambda m: torch.cat([m, m]), r"need \(2, 1, 8, 10\)"),
    "half the size": (lambda m: m[..., ::2, ::2], r"need \(2, 1, 8, 10\)"),
    "turned": (lambda m: m.mT, r"need \(2, 1, 8, 10\)"),
    "an array": (lambda m: m.numpy(), "ndarray"),
}
BAD_RADII: dict[str, tuple[Any, str]] = {
    "grey levels": (8, "Divide grey levels by 255"),
    "grey levels of each": (torch.tensor([4.0, 8.0]), "Divide grey levels by 255"),
    "negative": (-0.1, "allowed: 0 to 1"),
    "NaN": (float("nan"), "allowed: 0 to 1"),
    "too many": (torch.full((3,), EPS), r"shape \(3,\) and there are 2 images"),
    "of each value": (torch.full((2, 3), EPS), r"shape \(2, 3\)"),
    "none": (torch.zeros(0), r"shape \(0,\)"),
    "a word": ("8/255", "a number in pixel units"),
    "nothing": (None, "a number in pixel units"),
}


@ATTACKS
@pytest.mark.parametrize("name", BAD_IMAGES)
def test_images_that_are_no_pixels_are_refused_with_the_remedy(attack: Attack, name: str) -> None:
    images, masks = case()
    change, remedy = BAD_IMAGES[name]
    with pytest.raises(ImageError, match=remedy):
        attack(change(images), masks)


@ATTACKS
@pytest.mark.parametrize("name", BAD_MASKS)
def test_masks_of_other_values_or_shapes_are_refused_with_the_remedy(
    attack: Attack, name: str
) -> None:
    images, masks = case()
    change, remedy = BAD_MASKS[name]
    with pytest.raises(ImageError, match=remedy):
        attack(images, change(masks))


@SEEDED
@pytest.mark.parametrize("name", BAD_RADII)
def test_radii_that_are_none_are_refused(attack: Attack, name: str) -> None:
    eps, remedy = BAD_RADII[name]
    with pytest.raises(ConfigError, match=remedy):
        attack(*case(), eps)


def test_one_image_takes_no_radii_of_three() -> None:
    """They would have made three attacked images of it."""
    images, masks = case()
    with pytest.raises(ConfigError, match="there are 1 images"):
        by_gradient(images[:1], masks[:1], torch.full((3,), EPS))


@SEEDED
@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float64])
def test_masks_of_any_type_are_the_same_masks(attack: Attack, kind: torch.dtype) -> None:
    images, masks = case()
    expected = attack(images, masks, generator=torch.Generator().manual_seed(2))
    found = attack(images, masks.to(kind), generator=torch.Generator().manual_seed(2))
    assert torch.equal(found, expected)


@SEEDED
def test_rounding_outside_the_range_is_no_reason(attack: Attack) -> None:
    """Normalising and back leads a little outside."""
    images, masks = case()
    images[0, 0, 0, 0], images[0, 0, 0, 1] = 1 + 2e-7, -2e-7
    attacked = attack(images, masks)
    assert 0 <= float(attacked.min()) <= float(attacked.max()) <= 1


@SEEDED
def test_no_image_makes_no_image(attack: Attack) -> None:
    images, masks = case()
    with pytest.raises(AnsmError):
        attack(images[:0], masks)
    assert attack(images[:0], masks[:0]).shape == (0, 3, 8, 10)


@SEEDED
@pytest.mark.parametrize("generator", [0, "seed", torch.get_rng_state()])
def test_what_is_no_generator_is_refused(attack: Attack, generator: Any) -> None:
    with pytest.raises(ConfigError, match="manual_seed"):
        attack(*case(), generator=generator)


def test_a_generator_of_another_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Generator:
        device = torch.device("cuda:0")

    monkeypatch.setattr(torch, "Generator", Generator)
    with pytest.raises(ConfigError, match="on cuda:0; attacks draw on the CPU"):
        require_generator(Generator())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda x: x * 255, "start spans"),
        (lambda x: (x * 255).to(torch.uint8), "torch.uint8"),
        (lambda x: x * float("nan"), "start spans"),
        (lambda x: x[:1], "start has shape"),
        (lambda x: x.numpy(), "ndarray"),
    ],
)
def test_bad_starts_are_refused(change: Callable[[Tensor], Any], said: str) -> None:
    images, masks = case()
    with pytest.raises(ImageError, match=said):
        by_gradient(images, masks, start=change(images))


def test_features_are_taken_of_pixels_alone() -> None:
    for name in ("0..255", "-1..1", "uint8", "NaN", "grey"):
        change, remedy = BAD_IMAGES[name]
        with pytest.raises(ImageError, match=remedy):
            feature_forward(localizer(), SPEC, change(case()[0]))
