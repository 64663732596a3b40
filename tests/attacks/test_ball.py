"""Balls: start, projection and rounding stay inside, in both norms and in a region."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ansm_plugin.attacks.ball import ball, draw_region
from ansm_plugin.errors import ConfigError, ImageError

NORMS = ("linf", "l2")


def pictures(seed: int = 0) -> Tensor:
    """Return 8-bit images `(3, 3, 16, 16)`, with both ends of the range among them."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (3, 3, 16, 16), generator=generator) / 255


def size_of(noise: Tensor, norm: str) -> Tensor:
    """Return what the radius bounds, `(B,)`."""
    if norm == "linf":
        return noise.abs().amax((1, 2, 3))
    return noise.square().mean((1, 2, 3)).sqrt()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps_255", [0, 0.7, 1, 8, 40])
def test_points_stay_in_the_ball(norm: str, eps_255: float) -> None:
    images = pictures()
    within = ball(images, eps_255 / 255, norm)  # type: ignore[arg-type]
    gradient = torch.randn(images.shape)
    far = within.move(images, gradient, 5.0)
    for points in (within.start(None), within.project(far), within.round(within.project(far))):
        assert 0 <= points.min() <= points.max() <= 1
        assert (255 * size_of(points - images, norm)).max() <= eps_255 + 1e-3


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("eps_255", [0.7, 3, 8])
def test_rounding_gives_8_bit_images_and_keeps_most_of_the_noise(norm: str, eps_255: float) -> None:
    images = pictures()
    within = ball(images, eps_255 / 255, norm)  # type: ignore[arg-type]
    rounded = within.round(within.project(within.move(images, torch.randn(images.shape), 3.0)))
    assert torch.equal((255 * rounded).round() / 255, rounded)
    assert (255 * size_of(rounded - images, norm)).min() >= 0.6 * eps_255 or eps_255 < 1


def test_the_l2_ball_holds_the_linf_ball_of_its_radius() -> None:
    images = pictures()
    points = ball(images, 8 / 255).start(None)
    assert torch.equal(ball(images, 8 / 255, "l2").project(points), points)


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_moves_outside_the_region(norm: str) -> None:
    images = pictures()
    region = torch.zeros(3, 1, 16, 16)
    region[..., 4:9, 2:12] = 1
    within = ball(images, 8 / 255, norm, region)  # type: ignore[arg-type]
    moved = within.move(images, torch.randn(images.shape), 1.0)
    for points in (within.start(None), moved, within.project(moved), within.round(moved)):
        changed = (points != images).any(1, keepdim=True)
        assert not (changed & (region == 0)).any()
        assert changed.any()


def test_a_forged_region_has_a_margin_and_an_authentic_image_none() -> None:
    masks = torch.zeros(2, 1, 64, 64)
    masks[0, :, 10:20, 10:20] = 1
    region = draw_region("forged", masks)
    assert region is not None
    assert region[0].sum() == 14 * 14
    assert region[1].sum() == 0


def test_patches_are_squares_and_seeded() -> None:
    masks = torch.zeros(3, 1, 40, 30)
    drawn = [draw_region("patch", masks, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert drawn[0] is not None
    assert drawn[0].sum((1, 2, 3)).tolist() == [225, 225, 225]
    assert torch.equal(drawn[0], drawn[1])  # type: ignore[arg-type]
    assert not torch.equal(drawn[0], drawn[2])  # type: ignore[arg-type]
    assert draw_region("everywhere", masks) is None


def test_bad_balls_are_refused() -> None:
    images = pictures()
    with pytest.raises(ConfigError, match="Divide grey levels by 255"):
        ball(images, 8)
    with pytest.raises(ConfigError, match="eps is"):
        ball(images, float("nan"))
    with pytest.raises(ConfigError, match="norm is 'l1'"):
        ball(images, 0.1, "l1")  # type: ignore[arg-type]
    with pytest.raises(ImageError, match="region has shape"):
        ball(images, 0.1, region=torch.ones(3, 1, 8, 8))
