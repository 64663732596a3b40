"""Masks of every kind: read as they were meant, or refused; what is unusual is said once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.image_files import photograph, saved, square

from ansm_plugin.data.masks import Remarks
from ansm_plugin.data.pixels import Mask
from ansm_plugin.data.read import read_mask
from ansm_plugin.errors import ImageError

SIZE = (40, 50)
FORGED = square(level=1)
LOSSLESS = {
    "png": {},
    "tif": {"compression": "tiff_lzw"},
    "bmp": {},
    "gif": {},
    "ppm": {},
    "webp": {"lossless": True},
}


def read(path: Path) -> tuple[Mask, list[str]]:
    """Return a mask and what is said of it."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        mask = read_mask(path, SIZE)
    return mask, [str(one.message) for one in said]


def labels(*levels: int) -> Mask:
    """Return a mask with one square for each level."""
    mask = np.zeros(SIZE, np.uint8)
    for number, level in enumerate(levels):
        mask[4 : 4 + 12, 4 + 15 * number : 16 + 15 * number] = level
    return mask


@pytest.mark.parametrize("suffix", LOSSLESS)
@pytest.mark.parametrize("levels", [(1,), (2,), (1, 2), (5,), (15,), (38,), (120,), (1, 128, 255)])
def test_every_level_but_0_of_a_lossless_file_is_forged(
    tmp_path: Path, suffix: str, levels: tuple[int, ...]
) -> None:
    mask = labels(*levels)
    colours = Image.fromarray(mask).convert("RGB") if suffix == "webp" else Image.fromarray(mask)
    colours.save(tmp_path / f"m.{suffix}", **LOSSLESS[suffix])
    found, said = read(tmp_path / f"m.{suffix}")
    assert np.array_equal(found, mask > 0)
    assert [text[:31] for text in said] == (
        [] if levels == (1,) else ["masks with other levels than 0 "]
    )


@pytest.mark.parametrize("level", [1, 2, 255, 257, 300, 65535])
def test_levels_of_16_bit_are_labels_too(tmp_path: Path, level: int) -> None:
    path = saved(tmp_path / "m.png", FORGED.astype(np.uint16) * np.uint16(level))
    assert np.array_equal(read(path)[0], FORGED)


@pytest.mark.parametrize("level", [1.0, 0.5, 255.0])
def test_levels_of_floating_point_are_labels_too(tmp_path: Path, level: float) -> None:
    path = saved(tmp_path / "m.tif", FORGED.astype(np.float32) * np.float32(level))
    assert np.array_equal(read(path)[0], FORGED)


PALETTES: dict[str, tuple[list[int], bool]] = {
    "labels of VOC": ([0, 0, 0, 128, 0, 0], True),
    "dark blue": ([0, 0, 0, 0, 0, 9], True),
    "black twice": ([0, 0, 0, 0, 0, 0], True),
    "white and red": ([255, 255, 255, 255, 0, 0], False),
}


@pytest.mark.parametrize("suffix", ["png", "gif"])
@pytest.mark.parametrize("name", PALETTES)
def test_a_palette_counts_by_its_colours(tmp_path: Path, name: str, suffix: str) -> None:
    """But for one of equal colours, which says nothing: there its indices do."""
    palette, is_read = PALETTES[name]
    image = Image.fromarray(FORGED).convert("P")
    image.putdata(FORGED.ravel().tolist())
    image.putpalette(palette)
    image.save(tmp_path / f"m.{suffix}")
    if not is_read:
        with pytest.raises(ImageError, match="no black pixel"):
            read(tmp_path / f"m.{suffix}")
    elif not (name == "black twice" and suffix == "gif"):  # GIF writes equal colours once
        assert np.array_equal(read(tmp_path / f"m.{suffix}")[0], FORGED)


@pytest.mark.parametrize("colour", [(0, 0, 255), (0, 9, 0), (255, 0, 0)])
def test_colours_are_read_and_said(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    pixels = FORGED[..., None] * np.array(colour, np.uint8)
    found, said = read(saved(tmp_path / "m.png", pixels))
    assert np.array_equal(found, FORGED)
    assert said[0].startswith("masks in colours")


def with_alpha(colour: Callable[[Mask], Mask]) -> np.ndarray:  # type: ignore[type-arg]
    """Return RGBA with the forged square opaque and all else transparent."""
    grey = colour(square())
    return np.stack([grey, grey, grey, square()], axis=2)


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_a_mask_in_the_alpha_channel_is_read(tmp_path: Path, suffix: str, level: int) -> None:
    pixels = with_alpha(lambda mask: np.full_like(mask, level))
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    found, said = read(saved(tmp_path / f"m.{suffix}", pixels, **options))
    assert np.array_equal(found, FORGED)
    assert "transparency" in said[0]


def test_a_mask_in_the_alpha_channel_of_grey_is_read(tmp_path: Path) -> None:
    planes = [Image.new("L", SIZE[::-1], 255), Image.fromarray(square())]
    Image.merge("LA", planes).save(tmp_path / "m.png")
    assert np.array_equal(read(tmp_path / "m.png")[0], FORGED)


def test_colours_and_alpha_that_say_the_same_are_read_without_a_word(tmp_path: Path) -> None:
    found, said = read(saved(tmp_path / "m.png", with_alpha(lambda mask: mask)))
    assert np.array_equal(found, FORGED)
    assert not said


@pytest.mark.parametrize("shown", [lambda m: 255 - m, lambda m: np.roll(m, 5, 0)])
def test_colours_and_alpha_that_disagree_are_refused(
    tmp_path: Path, shown: Callable[[Mask], Mask]
) -> None:
    path = saved(tmp_path / "m.png", with_alpha(shown))
    with pytest.raises(ImageError, match="colours and a transparency that mark different"):
        read(path)


@pytest.mark.parametrize("levels", [(1, 2), (16, 235), (254, 255)])
def test_a_mask_without_a_0_is_refused(tmp_path: Path, levels: tuple[int, int]) -> None:
    mask = np.where(FORGED, levels[1], levels[0]).astype(np.uint8)
    with pytest.raises(ImageError, match="none is 0"):
        read(saved(tmp_path / "m.png", mask))


@pytest.mark.parametrize("levels", [20, 100, 256])
def test_more_levels_than_labels_have_are_refused(tmp_path: Path, levels: int) -> None:
    mask = (np.arange(2000) % levels).astype(np.uint8).reshape(SIZE)
    with pytest.raises(ImageError, match="binary"):
        read(saved(tmp_path / "m.png", mask))


def test_few_pixels_of_many_labels_are_refused(tmp_path: Path) -> None:
    """Too few for the 2 % that edges may have, but more than the bright ones."""
    mask = np.zeros(SIZE, np.uint8)
    mask[3, 3:40] = np.arange(20, 57)
    mask[9, 9] = 255
    with pytest.raises(ImageError, match="not binary: 37 of its pixels"):
        read(saved(tmp_path / "m.png", mask))


def test_soft_edges_are_cut_at_half_and_said(tmp_path: Path) -> None:
    large = np.kron(square(), np.ones((8, 8), np.uint8))
    soft = np.asarray(Image.fromarray(large).resize((397, 317), Image.Resampling.BICUBIC))
    path = saved(tmp_path / "m.png", soft)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = read_mask(path, soft.shape)
    assert np.array_equal(found, soft >= 127.5)
    assert str(said[0].message).startswith("masks with soft edges")


def test_jpeg_keeps_its_tolerance_and_faint_ones_are_said(tmp_path: Path) -> None:
    sharp, said = read(saved(tmp_path / "sharp.jpg", square(), quality=80))
    assert (sharp != FORGED).mean() < 0.01
    assert not said
    faint, said = read(saved(tmp_path / "faint.jpg", square(level=9), quality=95))
    assert not faint.any()
    assert "taken as empty; in 1 file: faint.jpg" in said[0]


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_an_inverted_mask_is_said(tmp_path: Path, suffix: str) -> None:
    found, said = read(saved(tmp_path / f"m.{suffix}", 255 - square()))
    assert found.mean() > 0.8
    assert "inverted" in said[0]


def test_a_large_region_inside_the_picture_is_not_called_inverted(tmp_path: Path) -> None:
    mask = np.zeros(SIZE, np.uint8)
    mask[1:-1, 1:-1] = 255
    assert not read(saved(tmp_path / "m.png", mask))[1]


def test_lab_is_read_by_its_lightness_or_refused(tmp_path: Path) -> None:
    flat = Image.new("L", SIZE[::-1], 128)
    for name, planes in {
        "grey": [flat, flat],
        "colours": [flat, Image.fromarray(square())],
    }.items():
        Image.merge("LAB", [Image.fromarray(square()), *planes]).save(tmp_path / f"{name}.tif")
    assert np.array_equal(read(tmp_path / "grey.tif")[0], FORGED)
    with pytest.raises(ImageError, match="Lab with colours"):
        read(tmp_path / "colours.tif")


@pytest.mark.parametrize("suffix", ["tif", "jpg"])
def test_cmyk_is_read(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(square()).convert("CMYK").save(tmp_path / f"m.{suffix}", quality=95)
    assert (read(tmp_path / f"m.{suffix}")[0] != FORGED).mean() < 0.01


def test_levels_below_0_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.tif", FORGED.astype(np.float32) - 1)
    with pytest.raises(ImageError, match="levels below 0"):
        read(path)


def test_a_photograph_is_no_mask(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="no black pixel"):
        read(saved(tmp_path / "m.png", photograph()))


def test_what_is_unusual_is_said_once_with_counts() -> None:
    remarks = Remarks()
    for number in range(12):
        remarks.note("masks in colours", Path(f"{number}.png"))
    with pytest.warns(UserWarning, match=r"masks in colours; in 12 files: 0\.png, .* and 2 more"):
        remarks.warn()


@pytest.mark.parametrize("level", [1, 255])
def test_masks_of_ones_and_of_white_are_the_same(tmp_path: Path, level: int) -> None:
    path = saved(tmp_path / "m.png", square(level=level))
    assert np.array_equal(read_mask(path, (40, 50)), square(level=1))


@pytest.mark.parametrize("mode", ["1", "RGB", "RGBA", "P"])
def test_masks_of_other_modes_are_read(tmp_path: Path, mode: str) -> None:
    Image.fromarray(square()).convert(mode).save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", (40, 50)), square(level=1))


def test_a_mask_saved_as_jpeg_is_read(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.jpg", square(), quality=80)
    assert (read_mask(path, (40, 50)) != square(level=1)).mean() < 0.01


def test_an_empty_mask_is_a_mask(tmp_path: Path) -> None:
    assert not read_mask(saved(tmp_path / "m.png", square(level=0)), (40, 50)).any()


def test_a_mask_of_another_size_names_both(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.png", square())
    with pytest.raises(ImageError, match=r"is 50x40, its image 51x40"):
        read_mask(path, (40, 51))
