"""Augmentation: image and mask together, differentiable, decided by the generator alone."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ansm_plugin.data.augment import DIFFERENTIABLE, channel, dihedral, photometric
from ansm_plugin.errors import ConfigError

Augmentation = Callable[[Tensor, torch.Generator], Tensor]
EVERY: dict[str, Augmentation] = {**DIFFERENTIABLE, "photometric": photometric}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(height: int = 24, width: int = 24, count: int = 2) -> Tensor:
    """Return smooth images with a little noise, away from the ends of the range."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 5, width), indexing="ij")
    waves = torch.stack([torch.sin(x + y), torch.cos(x - y), torch.sin(2 * y)])
    noise = 0.02 * torch.randn(count, 3, height, width, generator=seeded(9))
    return (0.5 + 0.3 * waves + noise).clamp(0.02, 0.98)


def test_what_there_is() -> None:
    assert set(DIFFERENTIABLE) == {"jpeg", "resize", "blur", "noise"}


# --- geometry -------------------------------------------------------------------------------------


def test_dihedral_moves_image_and_mask_alike_and_changes_no_value() -> None:
    images = pictures()
    masks = (images[:, :1] > 0.5).float()
    turned, turned_masks = dihedral(images, masks, seeded(5))
    assert torch.equal((turned[:, :1] > 0.5).float(), turned_masks)
    assert torch.equal(turned.flatten().sort().values, images.flatten().sort().values)


def test_dihedral_draws_all_eight_elements() -> None:
    images = pictures(count=1)
    seen = {dihedral(images, images[:, :1], seeded(s))[0].numpy().tobytes() for s in range(100)}
    assert len(seen) == 8


def test_dihedral_passes_gradients_untouched() -> None:
    images = pictures().requires_grad_()
    (gradient,) = torch.autograd.grad(
        dihedral(images, images[:, :1], seeded())[0].square().sum(), images
    )
    assert torch.equal(gradient, 2 * images)


# --- every change of pixels -----------------------------------------------------------------------


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("size", [(24, 24), (17, 31), (9, 8)])
def test_any_size_comes_back_as_it_went_in(name: str, size: tuple[int, int]) -> None:
    images = pictures(*size)
    changed = EVERY[name](images, seeded())
    assert changed.shape == images.shape
    assert changed.dtype == images.dtype
    assert torch.isfinite(changed).all()
    assert not torch.equal(changed, images)


@pytest.mark.parametrize("name", EVERY)
def test_the_change_is_small(name: str) -> None:
    images = pictures()
    for seed in range(5):
        assert (EVERY[name](images, seeded(seed)) - images).abs().mean() < 0.12


@pytest.mark.parametrize("name", EVERY)
def test_gradients_reach_every_pixel(name: str) -> None:
    images = pictures(17, 19).requires_grad_()
    changed = EVERY[name](images, seeded())
    weights = torch.rand(changed.shape, generator=seeded(1))
    (gradient,) = torch.autograd.grad((weights * changed).sum(), images)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.99


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_black_and_white_images_keep_finite_gradients(name: str, value: float) -> None:
    images = torch.full((1, 3, 16, 16), value, requires_grad=True)
    changed = EVERY[name](images, seeded())
    (gradient,) = torch.autograd.grad(changed.sum(), images)
    assert torch.isfinite(changed).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("name", ["photometric", "resize", "blur", "noise"])
def test_gradients_agree_with_finite_differences(name: str) -> None:
    """JPEG is left out: its rounding has a made-up slope on purpose."""
    images = pictures(8, 8, count=1).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: EVERY[name](x, seeded(3)), images, atol=1e-4, fast_mode=True
    )


@pytest.mark.parametrize("name", EVERY)
def test_the_generator_alone_decides(name: str) -> None:
    images = pictures()
    before = torch.get_rng_state()
    first, other = EVERY[name](images, seeded(1)), EVERY[name](images, seeded(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(77)
    assert torch.equal(EVERY[name](images, seeded(1)), first)
    assert not torch.equal(other, first)


@pytest.mark.parametrize("name", EVERY)
def test_the_given_images_stay_as_they_are(name: str) -> None:
    images = pictures()
    before = images.clone()
    EVERY[name](images, seeded())
    assert torch.equal(images, before)


@pytest.mark.parametrize("name", ["photometric", "jpeg", "blur", "noise"])
def test_every_image_of_a_batch_is_changed_by_its_own_strength(name: str) -> None:
    images = pictures(count=1).expand(2, -1, -1, -1)
    first, second = EVERY[name](images, seeded())
    assert not torch.equal(first, second)


# --- the channel ----------------------------------------------------------------------------------


def test_channel_draws_from_all_and_stays_in_the_range(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(2, 3, 16, 16, generator=seeded()).round()
    seen: list[str] = []
    for name, change in list(DIFFERENTIABLE.items()):

        def noted(x: Tensor, g: torch.Generator, n: str = name, c: Augmentation = change) -> Tensor:
            seen.append(n)
            return c(x, g)

        monkeypatch.setitem(DIFFERENTIABLE, name, noted)
    for seed in range(30):
        changed = channel(images, seeded(seed))
        assert 0 <= changed.min() <= changed.max() <= 1
    assert set(seen) == set(DIFFERENTIABLE)


@pytest.mark.parametrize("name", DIFFERENTIABLE)
def test_one_channel_can_be_asked_for(name: str) -> None:
    images, source = pictures(), seeded(4)
    torch.randint(1, (), generator=source)  # the draw of the one allowed channel
    expected = DIFFERENTIABLE[name](images, source).clamp(0, 1)
    assert torch.equal(channel(images, seeded(4), [name]), expected)


def test_a_channel_that_is_named_often_is_drawn_often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("jpeg", 0.25), ("noise", 0.75)):
        monkeypatch.setitem(DIFFERENTIABLE, name, lambda x, g, v=value: torch.full_like(x, v))
    source, images = seeded(), torch.zeros(1, 3, 8, 8)
    names = ("jpeg", "jpeg", "jpeg", "noise")
    values = [float(channel(images, source, names).mean()) for _ in range(400)]
    assert 0.7 < values.count(0.25) / 400 < 0.8


def test_an_unknown_channel_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown channel 'jpg'\. Nearest: jpeg"):
        channel(pictures(), seeded(), ["noise", "jpg"])


def test_jpeg_resembles_a_real_encoder() -> None:
    """A real JPEG and the differentiable one take away much the same."""
    images = (pictures(32, 32, count=1) * 255).round() / 255
    pixels = (images[0].permute(1, 2, 0) * 255).to(torch.uint8).numpy()
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=86, subsampling="4:2:0")
    real = torch.from_numpy(np.asarray(Image.open(buffer)).copy()).permute(2, 0, 1) / 255
    ours = DIFFERENTIABLE["jpeg"](images, seeded(2))[0]
    assert (ours - real).abs().mean() < 0.75 * (images[0] - real).abs().mean() + 0.01
