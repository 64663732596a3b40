"""Images and masks that belong together, by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.image_files import pairs_in, photograph, saved, square

from ansm_plugin.data.pairs import Pair, find_pairs, list_images, read_pair
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
    images, masks = pairs_in(tmp_path, "a b c", "a x")
    with pytest.warns(UserWarning, match=r"2 of 3 images .* left out: b\.jpg, c\.jpg$"):
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
    with pytest.raises(ImageError, match="no image matches"):
        list_images(tmp_path)
