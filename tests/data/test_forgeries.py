"""Synthetic forgeries: decided by the seed, true to their mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import jpeg
from ansm_plugin.data.donors import KINDS
from ansm_plugin.data.forgeries import ForgeryConfig, forge, region, synthesize
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.traces import TRACES
from ansm_plugin.errors import ConfigError, ImageError

SMALL = ForgeryConfig(size=48)


def photographs(count: int = 3, size: int = 96) -> list[Pixels]:
    """Return smooth random photographs with a little noise."""
    rng = np.random.default_rng(0)
    made = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3)).astype(np.uint8))
        smooth = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32)
        noisy = smooth + rng.normal(0, 2, smooth.shape)
        made.append(np.rint(noisy).clip(0, 255).astype(np.uint8))
    return made


def widened(mask: np.ndarray, pixels: int) -> np.ndarray:
    """Return the mask grown by `pixels` in every direction."""
    grown = mask.astype(bool)
    for _ in range(pixels):
        grown = np.pad(grown, 1)
        grown = np.max([
            np.roll(grown, shift, (0, 1)) for shift in
            [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
        ], axis=0)[1:-1, 1:-1]  # fmt: skip
    return grown


def test_the_same_seed_makes_the_same_forgeries_with_any_number_of_processes() -> None:
    one = synthesize(photographs(), 12, SMALL, seed=5, processes=1)
    two = synthesize(photographs(), 12, SMALL, seed=5, processes=2)
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.masks, two.masks)


def test_a_longer_run_starts_with_the_shorter_one_and_another_seed_differs() -> None:
    short = synthesize(photographs(), 3, SMALL, seed=5, processes=1)
    longer = synthesize(photographs(), 6, SMALL, seed=5, processes=1)
    other = synthesize(photographs(), 3, SMALL, seed=6, processes=1)
    assert torch.equal(short.images, longer.images[:3])
    assert not torch.equal(short.images, other.images)


def test_forgeries_are_bytes_with_binary_masks() -> None:
    crops = synthesize(photographs(), 5, SMALL, seed=0, processes=1)
    assert len(crops) == 5
    assert crops.images.shape == (5, 3, 48, 48)
    assert crops.masks.shape == (5, 1, 48, 48)
    assert crops.images.dtype == crops.masks.dtype == torch.uint8
    assert set(crops.masks.unique().tolist()) == {0, 1}


def test_the_forged_share_stays_within_the_bounds() -> None:
    rng = np.random.default_rng(0)
    shares = [region(64, (0.1, 0.4), rng).mean() for _ in range(100)]
    assert 0.09 < min(shares) < 0.15
    assert 0.35 < max(shares) < 0.41


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trace", TRACES)
def test_the_mask_marks_what_changed(kind: str, trace: str) -> None:
    """Outside the mask and its feathered edge of two pixels the host is untouched."""
    config = replace(SMALL, kinds=(kind,), traces=(trace,))
    (photograph,) = photographs(1)
    for seed in range(6):
        image, mask = forge([photograph], config, np.random.default_rng(seed))
        outside = ~widened(mask, 2)
        views = np.lib.stride_tricks.sliding_window_view(photograph, (48, 48), axis=(0, 1))
        same = (views.transpose(0, 1, 3, 4, 2) == image) | ~outside[..., None]
        hosts = np.argwhere(same.all((2, 3, 4)))
        assert len(hosts) == 1
        top, left = hosts[0]
        host = photograph[top : top + 48, left : left + 48]
        changed = (host != image).any(2)
        assert changed[mask == 1].mean() > 0.5


def test_authentic_crops_have_an_empty_mask() -> None:
    crops = synthesize(photographs(), 20, replace(SMALL, authentic=0.5), seed=0, processes=1)
    forged = crops.masks.flatten(1).any(1)
    assert 4 < int(forged.sum()) < 16


def test_finished_crops_are_compressed_on_demand() -> None:
    plain = synthesize(photographs(), 4, SMALL, seed=0, processes=1)
    compressed = synthesize(photographs(), 4, replace(SMALL, jpeg=1.0), seed=0, processes=1)
    assert torch.equal(plain.masks[0], compressed.masks[0])
    assert not torch.equal(plain.images[0], compressed.images[0])
    difference = plain.images[0].float() - compressed.images[0].float()
    assert difference.abs().mean() < 8


def test_photographs_that_are_too_small_are_left_out() -> None:
    mixed = [np.zeros((47, 200, 3), np.uint8), *photographs(1)]
    assert len(synthesize(mixed, 2, SMALL, seed=0, processes=1)) == 2
    with pytest.raises(ImageError, match="none of 1 photographs is 48 pixels or more"):
        synthesize(mixed[:1], 2, SMALL, seed=0)


def test_blur_keeps_constants_and_the_sum() -> None:
    assert np.allclose(blurred(np.full((9, 9, 3), 7, np.float32), 2.0), 7)
    spot = np.zeros((31, 31, 1), np.float32)
    spot[15, 15] = 1
    soft = blurred(spot, 2.0)
    assert soft.sum() == pytest.approx(1, abs=1e-5)
    assert soft[15, 17, 0] / soft[15, 15, 0] == pytest.approx(np.exp(-0.5), abs=1e-3)


def test_jpeg_loses_more_at_low_quality() -> None:
    pixels = photographs(1)[0].astype(np.float32)
    losses = [np.abs(jpeg(pixels, quality) - pixels).mean() for quality in (95, 20)]
    assert 0 < losses[0] < losses[1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kinds": ("splise",)}, "unknown forgery kind 'splise'. Nearest: splice"),
        ({"traces": ("nois",)}, "unknown forgery trace 'nois'. Nearest: noise"),
        ({"kinds": ()}, "no forgery kinds are named; known: splice"),
        ({"size": 16}, "size 16 must be 32 or more"),
        ({"area": (0.5, 0.4)}, "area"),
        ({"area": (0.0, 0.4)}, "area"),
    ],
)
def test_impossible_configs_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ForgeryConfig(**wrong)  # type: ignore[arg-type]
