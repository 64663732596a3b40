"""Whole photographs: tiles agree with the whole, and pictures show the mask."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.bright import bright, photograph
from torch import Tensor, nn

from ansm_plugin.data.paint import outline, overlay
from ansm_plugin.data.tiles import spans
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.photograph import localize_image

SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), stride=4)


class Local(nn.Module):
    """A localizer that sees blocks of 4x4 pixels, each alone."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 4, 4, stride=4)
        self.up = nn.ConvTranspose2d(4, 1, 4, stride=4)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.up(torch.relu(self.down(images)))
        return logits


def nothing() -> nn.Module:
    """Return a localizer that gives NaN."""
    model = bright()
    nn.init.constant_(model.weight, float("nan"))  # type: ignore[arg-type]
    return model


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return Local().eval()


# --- the core -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(300, 500), (257, 129), (640, 70)])
def test_tiles_agree_with_the_whole_photograph(model: nn.Module, height: int, width: int) -> None:
    pixels = photograph(height, width)
    whole = localize_image(model, SPEC, pixels, tile=1024)
    tiled = localize_image(model, SPEC, pixels, tile=128, overlap=32)
    assert whole.shape == (height, width)
    np.testing.assert_allclose(tiled, whole, atol=1e-5)


@pytest.mark.parametrize(("tile", "overlap", "grid"), [(128, 32, 32), (80, 40, 32), (64, 1, 48)])
def test_weights_of_tiles_add_up_to_one_at_every_pixel(tile: int, overlap: int, grid: int) -> None:
    for length in (1, 63, 64, 65, 128, 129, 200, 1000):
        total = np.zeros(length)
        for span in spans(length, tile, overlap, grid):
            assert span.start % grid == 0
            total[span.start : span.stop] += span.weight
        np.testing.assert_allclose(total, 1, atol=1e-6)


def test_no_more_than_one_tile_is_given_to_the_localizer() -> None:
    class Watched(nn.Module):
        largest = 0

        def forward(self, images: Tensor) -> Tensor:
            self.largest = max(self.largest, *images.shape[-2:])
            return images[:, :1]

    watched = Watched().eval()
    localize_image(watched, SPEC, photograph(700, 400), tile=256)
    assert watched.largest == 256


@pytest.mark.parametrize("size", [(1, 1), (3, 50), (33, 2)])
def test_tiny_photographs_are_padded(model: nn.Module, size: tuple[int, int]) -> None:
    assert localize_image(model, SPEC, photograph(*size)).shape == size


def test_a_tile_smaller_than_two_overlaps_is_refused(model: nn.Module) -> None:
    with pytest.raises(ConfigError, match="at least two overlaps"):
        localize_image(model, SPEC, photograph(64, 64), tile=100, overlap=64)


def test_nan_from_the_localizer_is_an_error() -> None:
    with pytest.raises(LocalizerError, match="returned NaN"):
        localize_image(nothing(), SPEC, photograph(64, 64))


def test_a_localizer_that_fails_names_the_size() -> None:
    class Picky(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("needs 224x224")

    with pytest.raises(LocalizerError, match=r"failed on 64x32 pixels: needs 224x224"):
        localize_image(Picky(), SPEC, photograph(32, 64))


def test_the_outline_is_the_inner_edge() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:7, 2:7] = True
    edge = outline(mask, 1)
    assert edge.sum() == 16
    assert not (edge & ~mask).any()
    assert not outline(np.ones((9, 9), bool), 2).any()


def test_the_overlay_changes_the_tampered_region_alone() -> None:
    pixels = photograph(40, 40)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    before = pixels.copy()
    painted = overlay(pixels, mask)
    assert (painted[mask] != pixels[mask]).any(-1).all()
    np.testing.assert_array_equal(painted[~mask], pixels[~mask])
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("colour", [(210, 20, 25), (90, 170, 240), (0, 229, 255), (16, 0, 32)])
def test_the_overlay_shows_on_any_colour(colour: tuple[int, int, int]) -> None:
    """Red objects, sky, and the overlay's own colours: some ring stands out on each."""
    pixels = np.full((40, 40, 3), colour, np.uint8)
    mask = np.zeros((40, 40), bool)
    mask[10:30, 10:30] = True
    painted = overlay(pixels, mask)
    across = np.abs(painted[20, 10:14].astype(int) - colour).max(-1)
    assert (across > 120).any()
    inside = np.abs(painted[20, 20].astype(int) - colour).max()
    assert inside > 70


def test_the_rings_follow_the_region_alone_and_the_picture_s_border_is_none() -> None:
    pixels = np.full((40, 60, 3), 100, np.uint8)
    mask = np.zeros((40, 60), bool)
    mask[:, 20:] = True  # touches three borders
    painted = overlay(pixels, mask)
    assert len(np.unique(painted.reshape(-1, 3), axis=0)) == 5  # outside, three rings, tint
    assert (painted == painted[:1]).all()
    np.testing.assert_array_equal(overlay(pixels, np.zeros_like(mask)), pixels)
