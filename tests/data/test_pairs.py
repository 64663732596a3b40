"""Images and masks that belong together, by their names."""

from __future__ import annotations

import json
import unicodedata
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.image_files import pairs_in, photograph, saved, square

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.pairs import (
    Pair,
    find_pairs,
    list_images,
    match_folders,
    read_pair,
)
from ansm_plugin.data.samples import WholeImages
from ansm_plugin.errors import ImageError


def test_pairs_are_matched_by_stem_and_known_endings(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b c", "c_mask a b_gt")
    found = find_pairs(images, masks)
    assert [(p.image.name, p.mask.name) for p in found] == [
        ("a.jpg", "a.png"),
        ("b.jpg", "b_gt.png"),
        ("c.jpg", "c_mask.png"),
    ]
    image, mask = read_pair(found[0])
    assert image.shape == (40, 50, 3)
    assert mask.sum() == 16 * 20


def test_one_folder_of_both_pairs_no_image_with_itself(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", photograph())
    saved(tmp_path / "a_mask.png", square())
    with pytest.warns(UserWarning, match=r"1 of 2 .*a_mask\.png"):
        found = find_pairs(tmp_path, tmp_path)
    assert found == [Pair(tmp_path / "a.png", tmp_path / "a_mask.png")]


def test_orphans_are_counted_and_named(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b c", "a")
    with pytest.warns(
        UserWarning,
        match=r"2 of 3 images .* left out: b\.jpg, c\.jpg; an authentic one needs a mask",
    ):
        assert len(find_pairs(images, masks)) == 1


def test_no_pair_at_all_is_refused(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b", "x")
    with pytest.raises(ImageError, match=r"none of 2 images .*a\.jpg, b\.jpg"):
        find_pairs(images, masks)


def test_a_pattern_chooses_images(tmp_path: Path) -> None:
    images, _ = pairs_in(tmp_path, "train_1 train_2 test_1", "")
    assert [p.stem for p in list_images(images, "train_*")] == ["train_1", "train_2"]
    with pytest.raises(ImageError, match=r"no image matches 'val_\*'"):
        list_images(images, "val_*")


def test_a_missing_or_imageless_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"no folder .*nothing"):
        list_images(tmp_path / "nothing")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ImageError, match="there is no image in"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match="is a file, and a folder is needed"):
        find_pairs(tmp_path / "notes.txt", tmp_path / "notes.txt")


def nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def nfd(name: str) -> str:
    return unicodedata.normalize("NFD", name)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (nfc("café"), nfd("café")),
        (nfd("Ångström 1"), nfc("Ångström 1")),
        (nfc("한국"), nfd("한국_mask")),
        ("IMG_1", "img_1"),
        ("img_1", "IMG_1_GT"),
        (nfc("É"), nfd("é_Mask")),
        ("straße", "STRASSE"),
    ],
)
def test_names_pair_in_any_normalisation_and_case(tmp_path: Path, image: str, mask: str) -> None:
    images, masks = pairs_in(tmp_path, "", "")
    saved(images / f"{image}.jpg", photograph())
    saved(masks / f"{mask}.PNG", square())
    assert find_pairs(images, masks) == [Pair(images / f"{image}.jpg", masks / f"{mask}.PNG")]


def test_the_name_that_is_the_same_comes_first(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a A", "a A_gt")
    assert [p.mask.name for p in find_pairs(images, masks)] == ["A_gt.png", "a.png"]


def test_several_masks_for_one_image_are_not_chosen_from(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b", "a b")
    saved(masks / "a.bmp", square())
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = match_folders(images, masks)
    assert [p.image.name for p in found.pairs] == ["b.jpg"]
    assert "a.jpg has several masks: a.bmp, a.png" in str(said[0].message)
    assert found.left_out[0]["file"] == "a.jpg"


def test_masks_of_no_image_are_named_unless_a_pattern_leaves_them_out(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b", "a b x")
    with pytest.warns(UserWarning, match=r"1 of 3 masks .* belong to no image: x\.png"):
        assert match_folders(images, masks).left_out == (
            {"file": "x.png", "reason": "a mask of no image"},
        )
    assert len(match_folders(images, masks, "a*").left_out) == 0


def test_the_masks_may_lie_in_a_folder_of_the_images(tmp_path: Path) -> None:
    images, _ = pairs_in(tmp_path, "a", "")
    saved(images / "masks" / "a.png", square())
    for recursive in (False, True):
        assert len(find_pairs(images, images / "masks", recursive=recursive)) == 1


def test_equal_names_in_several_folders_are_kept_apart(tmp_path: Path) -> None:
    for day in ("1", "2"):
        saved(tmp_path / "i" / day / "a.png", photograph(seed=int(day)))
        saved(tmp_path / "m" / day / "a_gt.png", square(level=int(day)))
    pairs = find_pairs(tmp_path / "i", tmp_path / "m", recursive=True)
    assert [(p.image.parent.name, p.mask.parent.name) for p in pairs] == [("1", "1"), ("2", "2")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of levels
        whole = WholeImages(pairs, tmp_path / "i")
    assert whole[0].names == ("1/a.png", "2/a.png")


def bad_pairs(folder: Path, count: int) -> list[Pair]:
    """Write good pairs and bad ones of every kind."""
    pairs = []
    for number in range(count):
        image = saved(folder / "i" / f"{number}.png", photograph())
        mask = saved(folder / "m" / f"{number}.png", square())
        kind = number % 5
        if kind == 1:
            saved(mask, square(41, 50))
        if kind == 2:
            mask.write_bytes(b"no mask")
        if kind == 3:
            image.write_bytes(image.read_bytes()[:99])
        if kind == 4:
            saved(mask, np.arange(2000).astype(np.uint8).reshape(40, 50))
        pairs.append(Pair(image, mask))
    return pairs


def test_all_bad_pairs_are_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"4 of 5 pairs cannot be used") as refused:
        WholeImages(bad_pairs(tmp_path, 5))
    lines = str(refused.value).splitlines()
    assert [f"{n}.png" in lines[n] for n in range(1, 5)] == [True] * 4
    assert lines[-1].startswith("Mend these files")


def test_of_very_many_bad_pairs_ten_are_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"12 of 15 pairs") as refused:
        WholeImages(bad_pairs(tmp_path, 15))
    assert str(refused.value).count(".png") >= 10
    assert "and 2 more" in str(refused.value)


@pytest.mark.parametrize("with_masks", [True, False])
def test_training_names_all_bad_files_at_once(tmp_path: Path, with_masks: bool) -> None:
    pairs = bad_pairs(tmp_path, 5)
    pairs[0].image.write_bytes(b"no image")
    config = DataConfig(
        images=tmp_path / "i",
        masks=tmp_path / "m" if with_masks else None,
        count=10,
        forgeries=ForgeryConfig(size=32),
    )
    said = r"5 of 5 pairs" if with_masks else r"2 of 5 photographs"
    with pytest.raises(ImageError, match=said):
        load_crops(config)


def test_a_list_names_all_bad_entries_at_once(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", square())
    (tmp_path / "list.json").write_text(json.dumps([["a.png", "a.png"], ["x.png", "y.png"], 3]))
    with pytest.raises(ImageError, match=r"2 of 3 entries[\s\S]*x\.png[\s\S]*the entry 3"):
        read_pair_list(tmp_path / "list.json")


def test_what_is_unusual_in_masks_is_said_once_with_their_number(tmp_path: Path) -> None:
    pairs = [
        Pair(
            saved(tmp_path / "i" / f"{n}.png", photograph()),
            saved(tmp_path / "m" / f"{n}.png", square(level=2)),
        )
        for n in range(3)
    ]
    with pytest.warns(UserWarning, match="in 3 files") as said:
        whole = WholeImages(pairs)
    assert len(said) == 1
    assert whole[0].masks.sum() == 3 * 320  # and nothing is said again
