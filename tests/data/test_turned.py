"""Pairs of which EXIF turns one alone."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.image_files import photograph, saved, square

from ansm_plugin.data.pairs import Pair, read_pair
from ansm_plugin.data.pixels import Mask, Pixels
from ansm_plugin.data.read import read_image
from ansm_plugin.errors import ImageError

MASK = square()
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
}


def turned(path: Path, pixels: Pixels | Mask, orientation: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(path, pixels, exif=exif)


def pair_of(folder: Path, orientation: int, mask: Mask) -> Pair:
    """Write an image whose stored forged region is bright, and a mask without EXIF."""
    pixels = np.where(MASK[..., None] > 0, 220, 40).astype(np.uint8).repeat(3, 2)
    image = turned(folder / "a.png", pixels, orientation)
    return Pair(image, saved(folder / "m.png", mask))


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_a_mask_that_may_lie_either_way_is_refused(tmp_path: Path, orientation: int) -> None:
    pair = pair_of(tmp_path, orientation, MASK)
    with pytest.raises(ImageError, match=r"a\.png.*m\.png.*not certain.*mogrify"):
        read_pair(pair)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("level", [0, 255])
def test_a_mask_that_lies_the_same_either_way_is_read(
    tmp_path: Path, orientation: int, level: int
) -> None:
    pair = pair_of(tmp_path, orientation, np.full_like(MASK, level))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert (read_pair(pair)[1] == (level > 0)).all()


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_stored_size_is_turned_with_its_image(
    tmp_path: Path, orientation: int
) -> None:
    with pytest.warns(UserWarning, match=r"turned with the image; in 1 file: m\.png"):
        pixels, mask = read_pair(pair_of(tmp_path, orientation, MASK))
    assert mask.shape == MASK.T.shape
    assert np.array_equal(pixels[..., 0] > 128, mask > 0)


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_of_the_upright_size_stays(tmp_path: Path, orientation: int) -> None:
    upright = np.ascontiguousarray(TURNS[orientation](MASK))
    pixels, mask = read_pair(pair_of(tmp_path, orientation, upright))
    assert np.array_equal(pixels[..., 0] > 128, mask > 0)


@pytest.mark.parametrize("orientation", [6, 8])
def test_a_square_picture_leaves_it_open(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((50, 50, 3), np.uint8)
    image = turned(tmp_path / "a.png", pixels, orientation)
    with pytest.raises(ImageError, match="not certain"):
        read_pair(Pair(image, saved(tmp_path / "m.png", square(50, 50))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_both_turned_alike_are_upright_alike(tmp_path: Path, orientation: int) -> None:
    pair = pair_of(tmp_path, orientation, MASK)
    turned(pair.mask, MASK, orientation)
    pixels, mask = read_pair(pair)
    assert np.array_equal(pixels[..., 0] > 128, mask > 0)


def test_a_mask_with_exif_of_its_own_is_compared_as_well(tmp_path: Path) -> None:
    image = saved(tmp_path / "a.png", photograph())
    with pytest.raises(ImageError, match="EXIF turns mask of the pair"):
        read_pair(Pair(image, turned(tmp_path / "m.png", MASK, 3)))
    with pytest.warns(UserWarning, match="turned with the image"):
        found = read_pair(Pair(image, turned(tmp_path / "m.png", MASK, 6)))[1]
    assert np.array_equal(found, MASK > 0)


def test_another_size_is_another_size(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is 51x40, its image 40x50"):
        read_pair(pair_of(tmp_path, 6, square(40, 51)))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_every_format_is_honoured(
    tmp_path: Path, suffix: str, orientation: int
) -> None:
    pixels = np.where(MASK[..., None] > 0, 220, 40).astype(np.uint8).repeat(3, 2)
    found = read_image(turned(tmp_path / f"a.{suffix}", pixels, orientation))[..., 0] > 128
    expected = TURNS[orientation](MASK > 0)
    assert found.shape == expected.shape
    assert (found != expected).mean() < 0.02
