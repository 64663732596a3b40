"""The picture of the README: one crop, two attacks, and figures that are those of the masks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from lab import picture


def bright(pixels: Tensor) -> Tensor:
    """Mark what is bright. Shape: `(B, 3, H, W)` -> `(B, 1, H, W)`."""
    return 20 * (pixels.mean(1, keepdim=True) - 0.5)


def red(pixels: Tensor) -> Tensor:
    """Mark what is red, so that noise against it is another than against `bright`."""
    return 20 * (pixels[:, :1] - pixels[:, 1:2])


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "SIZE", 64)
    monkeypatch.setattr(picture, "STEPS", 2)


def test_the_crop_is_forged_and_the_same_each_time() -> None:
    (image, mask), again = picture.forgery(), picture.forgery()
    assert (image.shape, mask.shape) == ((1, 3, 64, 64), (1, 1, 64, 64))
    assert 0 < float(mask.mean()) < 1
    assert torch.equal(image, again[0])


def test_the_last_attack_goes_through_the_defended_localizer() -> None:
    image, mask = picture.forgery()
    shown = picture.tiles(bright, red)
    noisy = picture.attacked(bright, image, mask)
    assert torch.equal(shown[0].pixels, noisy[0])
    assert 0 < float((noisy - image).abs().max()) <= 8.01 / 255
    assert torch.equal(shown[4].pixels, red(noisy)[0].sigmoid())
    through = picture.attacked(red, image, mask)
    assert torch.equal(shown[5].pixels, red(through)[0].sigmoid())
    assert not torch.equal(shown[4].pixels, shown[5].pixels)


def test_the_figure_of_a_tile_is_that_of_its_mask() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., :32] = 1
    assert picture.found("bare", lambda _: mask - 0.5, mask, mask).title == "bare\nF1 1.00"
    assert picture.found("bare", lambda _: 0.5 - mask, mask, mask).title == "bare\nF1 0.00"


def test_the_parts_stand_side_by_side(tmp_path: Path) -> None:
    path = picture.draw(picture.tiles(bright, red), tmp_path / "p.png")
    with Image.open(path) as drawn:
        assert drawn.width > 4 * drawn.height
