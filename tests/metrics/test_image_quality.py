"""How visible a change is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from ansm_plugin.errors import ImageError
from ansm_plugin.metrics.image_quality import psnr_scores, ssim_scores


def images(count: int = 3, height: int = 20, width: int = 16) -> Tensor:
    """Return random images away from black and white."""
    generator = torch.Generator().manual_seed(0)
    return 0.25 + torch.rand(count, 3, height, width, generator=generator) / 2


def test_psnr_of_each_image_follows_from_its_own_change() -> None:
    """A change of 8/255 everywhere is 20 log10(255 / 8) dB, and each image has its own value."""
    steps = torch.tensor([1.0, 4.0, 8.0]).view(3, 1, 1, 1) / 255
    expected = [20 * math.log10(255 / step) for step in (1, 4, 8)]
    assert psnr_scores(images() + steps, images()).tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (20, 16), (130, 97)])
def test_psnr_is_that_of_torchmetrics_to_the_last_bit(size: tuple[int, int]) -> None:
    """Of any size and strength of the change."""
    whole = images(4, *size)
    changed = whole + torch.tensor([0.1, 1e-3, 1 / 255, 0.25]).view(4, 1, 1, 1) * (whole - 0.4)
    expected = peak_signal_noise_ratio(
        changed.double(), whole.double(), data_range=1.0, reduction="none", dim=(1, 2, 3)
    )
    assert psnr_scores(changed, whole).tolist() == expected.tolist()


def test_ssim_of_constant_images_is_its_luminance_term() -> None:
    """Without structure SSIM is (2ab + c) / (a^2 + b^2 + c) with c = 0.01^2."""
    one, other = torch.full((2, 3, 16, 16), 0.3), torch.full((2, 3, 16, 16), 0.5)
    expected = (2 * 0.3 * 0.5 + 1e-4) / (0.09 + 0.25 + 1e-4)
    assert ssim_scores(one, other).tolist() == pytest.approx([expected] * 2, abs=3e-4)


def test_no_change_is_infinite_psnr_and_ssim_one() -> None:
    """Per image: the untouched one among changed ones."""
    changed = images()
    changed[1:] += 0.1
    psnr, ssim = psnr_scores(changed, images()), ssim_scores(changed, images())
    assert psnr.isinf().tolist() == [True, False, False]
    assert ssim[0].item() == pytest.approx(1)
    assert ssim[1] < 0.999
    assert psnr_scores(images(), images()).tolist() == [math.inf] * 3


def test_small_images_and_none_have_scores() -> None:
    """Below the window of SSIM an image is continued by its edge; an empty batch gives nothing."""
    assert ssim_scores(images(2, 3, 16), images(2, 3, 16)).tolist() == pytest.approx([1, 1])
    assert psnr_scores(images(0), images(0)).shape == (0,)
    assert ssim_scores(images(0), images(0)).shape == (0,)


def test_shapes_must_match() -> None:
    """One original for a whole batch would broadcast and is refused, and so are masks."""
    for score in (psnr_scores, ssim_scores):
        with pytest.raises(ImageError, match=r"\(3, 3, 20, 16\).*\(1, 3, 20, 16\)"):
            score(images(3), images(1))
        with pytest.raises(ImageError, match=r"changed \(2, 1, 9, 9\) and .*\(B, 3, H, W\)"):
            score(torch.zeros(2, 1, 9, 9), torch.zeros(2, 1, 9, 9))
