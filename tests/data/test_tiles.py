"""Tiles: each pixel is one tile's, functions tile by tile agree with the whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.data.tiles import Tiling, spans
from ansm_plugin.errors import ConfigError

SMALL = Tiling(tile=64, overlap=32)


def blurred(images: Tensor) -> Tensor:
    """Return the mean of 3x3 pixels: what a tile says near its edge is wrong."""
    return functional.avg_pool2d(images, 3, stride=1, padding=1)


@pytest.mark.parametrize("size", [(64, 65), (130, 97), (200, 64)])
def test_cores_cover_each_pixel_once(size: tuple[int, int]) -> None:
    seen = torch.zeros(1, 1, *size)
    for window in SMALL.windows(*size):
        only = torch.zeros_like(seen)
        window.copy_core(torch.ones_like(window.of(seen)), only)
        seen += only
    assert bool((seen == 1).all())


def test_tiles_agree_with_the_whole_away_from_its_edge() -> None:
    images = torch.rand(2, 3, 150, 110, generator=torch.Generator().manual_seed(0))
    whole = blurred(images)
    torch.testing.assert_close(SMALL.blended(blurred)(images), whole)
    torch.testing.assert_close(SMALL.stitched(blurred, images), whole, rtol=0, atol=0)


def test_an_image_that_fits_is_not_touched() -> None:
    images = torch.rand(1, 3, 64, 40)
    assert SMALL.blended(lambda x: x)(images) is images
    assert SMALL.stitched(lambda x: x, images) is images


@pytest.mark.parametrize(("length", "count"), [(65, 2), (97, 3), (150, 5), (224, 6), (1536, 47)])
def test_tiles_of_a_photograph_are_about_equally_long(length: int, count: int) -> None:
    made = spans(length, 64, 32, 32)
    assert len(made) <= count
    assert max(s.stop - s.start for s in made) <= 64
    assert min(s.stop - s.start for s in made) > 32
    total = torch.zeros(length)
    for span in made:
        total[span.start : span.stop] += torch.from_numpy(span.weight)
    torch.testing.assert_close(total, torch.ones(length))


def test_no_tile_is_a_sliver() -> None:
    assert [s.stop - s.start for s in spans(1030, 1024, 96, 32)] == [576, 550]
    assert [s.stop - s.start for s in spans(1536, 1024, 96, 32)] == [832, 800]


def test_every_image_given_is_cut_alike() -> None:
    images = torch.rand(1, 3, 100, 80)
    masks = images[:, :1].clone()
    found = SMALL.stitched(lambda x, m: x - m, images, masks)
    assert torch.equal(found, images - masks)


def test_the_fullest_tile_holds_the_forged_region_and_is_never_small() -> None:
    masks = torch.zeros(1, 1, 100, 200)
    masks[..., 90:, 190:] = 1
    rows, columns = SMALL.fullest(masks)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (64, 64)
    assert masks[..., rows, columns].sum() == masks.sum()
    assert SMALL.fullest(masks[..., :30, :40]) == (slice(0, 30), slice(0, 40))


def test_a_tile_smaller_than_two_overlaps_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tile is 100 and overlap 96.*\(192\)"):
        Tiling(100)
