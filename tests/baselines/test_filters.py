"""Baselines without weights: what each does to pixels, and to the mask."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from ansm_plugin.baselines import Examples
from ansm_plugin.baselines.filters import BitDepth, Gaussian, Jpeg, Median, RandomSigns
from ansm_plugin.baselines.geometry import ResizePad, ShiftAverage
from ansm_plugin.baselines.wiener import Wiener, wiener_kernel


def smooth(count: int = 3, height: int = 24, width: int = 20) -> Tensor:
    """Return smooth random 8-bit images."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(4))
    images = functional.interpolate(coarse, (height, width), mode="bilinear")
    return images.mul(255).round() / 255


def test_jpeg_is_what_pillow_writes() -> None:
    """Each image goes through its own real file."""
    images = smooth()
    for image, found in zip(images, Jpeg(75)(images), strict=True):
        file = BytesIO()
        levels = image.permute(1, 2, 0).mul(255).round().byte().numpy()
        Image.fromarray(levels).save(file, "JPEG", quality=75)
        expected = torch.from_numpy(np.array(Image.open(file))).permute(2, 0, 1) / 255
        assert torch.equal(found, expected)
        assert not torch.equal(found, image)


def test_bit_depth_leaves_that_many_levels() -> None:
    """Two bits are four levels, black and white among them; eight bits change nothing."""
    images = torch.linspace(0, 1, 768).view(1, 3, 16, 16)
    assert sorted(set(BitDepth(2)(images).flatten().tolist())) == pytest.approx(
        [0, 1 / 3, 2 / 3, 1]
    )
    torch.testing.assert_close(BitDepth(8)(smooth()), smooth())


def test_median_removes_a_lone_pixel() -> None:
    """A single bright pixel is gone, an edge is not."""
    images = torch.zeros(1, 3, 9, 9)
    images[..., 4:, :] = 1
    speckled = images.clone()
    speckled[0, :, 1, 4] = 1
    torch.testing.assert_close(Median(3)(speckled), images)


def test_gaussian_spreads_one_pixel_by_its_sigma() -> None:
    """The response to one pixel keeps its sum and has the variance asked for."""
    images = torch.zeros(1, 3, 33, 33)
    images[..., 16, 16] = 1
    row = Gaussian(1.5)(images)[0, 0].sum(0)
    place = torch.arange(33) - 16.0
    assert row.sum().item() == pytest.approx(1, abs=1e-5)
    assert (row * place**2).sum().item() == pytest.approx(1.5**2, rel=0.05)


def test_random_signs_spend_the_energy_of_the_ansm() -> None:
    """The root mean square of each image is that of the ANSM's perturbation, with its own signs."""
    images = 0.25 + smooth() / 2
    strengths = torch.tensor([1.0, 4.0, 8.0]).view(3, 1, 1, 1) / 255
    signs = RandomSigns(lambda x: strengths * torch.ones_like(x), seed=1)
    change = signs(images) - images
    torch.testing.assert_close(change.abs(), strengths.expand_as(change), rtol=0, atol=1e-6)
    assert (change > 0).float().mean().item() == pytest.approx(0.5, abs=0.05)
    assert not torch.equal(change[0].sign(), change[1].sign())


@pytest.mark.parametrize("batch", [1, 3])
def test_random_baselines_do_not_depend_on_the_batch(batch: int) -> None:
    """Seed and image alone decide, so a resumed evaluation gives the same numbers."""
    images = smooth()
    signs = RandomSigns(lambda x: torch.full_like(x, 0.01), seed=2)
    moved = ResizePad(1.25, seed=2)(lambda x: x[:, :1])
    for defence in (signs, moved):
        parts = torch.cat([defence(part) for part in torch.split(images, batch)])
        assert torch.equal(parts, defence(images))
    assert not torch.equal(RandomSigns(signs.ansm, seed=3)(images), signs(images))


@pytest.mark.parametrize("change", [Jpeg(90), BitDepth(4)])
def test_rounding_lets_gradients_through(change: Callable[[Tensor], Tensor]) -> None:
    """A white-box attack meets no wall: the gradient is that of the identity."""
    images = smooth().requires_grad_(True)
    (gradient,) = torch.autograd.grad(change(images).sum(), images)
    assert torch.equal(gradient, torch.ones_like(gradient))


@pytest.mark.parametrize("wrap", [ResizePad(1.25, seed=0), ShiftAverage(3)])
def test_the_mask_is_moved_back(wrap: ResizePad | ShiftAverage) -> None:
    """A localizer that returns the red channel still returns it where it was."""
    images = smooth()
    seen: list[tuple[int, ...]] = []

    def red(pixels: Tensor) -> Tensor:
        seen.append(tuple(pixels.shape[-2:]))
        return pixels[:, :1]

    found = wrap(red)(images)
    assert found.shape == (3, 1, 24, 20)
    assert (found - images[:, :1]).abs().max() < 0.1
    assert max(seen) > (24, 20)


def test_shift_average_cancels_noise_of_one_phase() -> None:
    """What flips with the phase of the grid is averaged away."""
    stripes = (torch.arange(16) % 2 * 2.0 - 1).expand(1, 1, 16, 16)

    def phased(pixels: Tensor) -> Tensor:
        height, width = pixels.shape[-2:]
        return pixels[:, :1] + stripes[..., :1].new_tensor(
            [(-1.0) ** x for x in range(width)]
        ).expand(1, 1, height, width)

    found = ShiftAverage(1)(phased)(torch.zeros(1, 3, 16, 16))
    assert found.abs().max() < 1e-6


def test_wiener_learns_to_remove_noise() -> None:
    """On unseen pairs of the same kind the fitted filter removes most of the noise."""
    generator = torch.Generator().manual_seed(0)
    originals = functional.avg_pool2d(torch.rand(24, 3, 40, 40, generator=generator), 9, 1)
    noise = 8 / 255 * torch.randn(originals.shape, generator=generator).sign()
    noisy = (originals + noise).clamp(0, 1)
    masks = torch.ones(24, 1, 32, 32)
    kernel = wiener_kernel(Examples(originals[:16], masks[:16], noisy[:16]))
    restored = Wiener(kernel, 1.0)(noisy[16:])
    before, after = ((x - originals[16:]).square().mean() for x in (noisy[16:], restored))
    assert after < 0.25 * before
    torch.testing.assert_close(kernel.sum((1, 2)), torch.ones(3))


def test_wiener_of_equal_pairs_is_the_identity() -> None:
    """Nothing to remove: the kernel is one pixel, and images of any size come back."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(4, 3, 32, 32, generator=generator)
    kernel = wiener_kernel(Examples(images, torch.ones(4, 1, 32, 32), images))
    other = torch.rand(1, 3, 5, 47, generator=generator)
    torch.testing.assert_close(Wiener(kernel, 1.0)(other), other, rtol=0, atol=1e-5)


def test_wiener_filters_by_its_kernel() -> None:
    """A kernel beside the centre moves the image by one pixel, up to its edge."""
    kernel = torch.zeros(3, 5, 5)
    kernel[:, 2, 3] = 1
    images = smooth()
    moved = Wiener(kernel, 1.0)(images)
    torch.testing.assert_close(moved[..., 1:], images[..., :-1], rtol=0, atol=1e-5)
    halfway = Wiener(kernel, 0.5)(images)
    torch.testing.assert_close(halfway, (images + moved) / 2, rtol=0, atol=1e-5)
