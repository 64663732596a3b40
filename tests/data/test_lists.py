"""Lists of images and masks as they are in the field: absolute paths, authentic images."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.image_files import photograph, saved, square

from ansm_plugin.commands.recipe_options import read_options
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.data.lists import read_pair_list
from ansm_plugin.data.pairs import Pair, read_pair
from ansm_plugin.data.samples import WholeImages
from ansm_plugin.errors import ImageError
from ansm_plugin.recipes.two_stage import TwoStageRecipe

SMALL = ForgeryConfig(size=32)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """Write a list in one folder whose images lie in another; the second image is authentic."""
    image = saved(tmp_path / "data" / "tp" / "1.png", photograph(seed=1))
    mask = saved(tmp_path / "data" / "gt" / "1.png", square())
    authentic = saved(tmp_path / "data" / "au" / "2.png", photograph(seed=2))
    path = tmp_path / "lists" / "casia.json"
    path.parent.mkdir()
    path.write_text(json.dumps([[str(image), str(mask)], [str(authentic), "Negative"]]))
    return path


def test_absolute_paths_are_read_where_the_list_is_trusted(elsewhere: Path) -> None:
    with pytest.raises(ImageError, match=r"outside of its folder[\s\S]*--allow-outside"):
        read_pair_list(elsewhere)
    found = read_pair_list(elsewhere, allow_outside=True)
    data = elsewhere.parents[1] / "data"
    assert found == [Pair(data / "tp/1.png", data / "gt/1.png"), Pair(data / "au/2.png", None)]


def test_relative_paths_lead_out_of_a_trusted_list(elsewhere: Path) -> None:
    elsewhere.write_text('[["../data/tp/1.png", "../data/gt/1.png"]]')
    with pytest.raises(ImageError, match="outside of its folder"):
        read_pair_list(elsewhere)
    assert read_pair_list(elsewhere, allow_outside=True)[0].image.is_file()


def test_a_trusted_list_may_name_files_below_the_current_folder(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """IMDLBenCo knows no other: there the folder of the list does not count."""
    elsewhere.write_text('[["data/au/2.png", "Negative"]]')
    monkeypatch.chdir(elsewhere.parents[1])
    with pytest.raises(ImageError, match="no such file"):
        read_pair_list(elsewhere)
    assert read_pair_list(elsewhere, allow_outside=True) == [Pair(Path("data/au/2.png"), None)]


def test_a_missing_file_of_a_trusted_list_is_named(elsewhere: Path) -> None:
    elsewhere.write_text(f'[["/nowhere/x.png", "Negative"], ["{"y" * 5000}", "Negative"]]')
    with pytest.raises(ImageError, match=r"2 of 2 entries[\s\S]*/nowhere/x\.png[\s\S]*no such"):
        read_pair_list(elsewhere, allow_outside=True)


def test_the_mask_of_an_authentic_image_is_empty(elsewhere: Path) -> None:
    pair = read_pair_list(elsewhere, allow_outside=True)[1]
    image, mask = read_pair(pair)
    assert mask.shape == image.shape[:2]
    assert mask.dtype == np.uint8
    assert not mask.any()


def test_authentic_images_of_a_list_are_scored_beside_forged_ones(elsewhere: Path) -> None:
    whole = WholeImages(read_pair_list(elsewhere, allow_outside=True))
    assert [bool(mask.any()) for mask in whole[0].masks] == [True, False]
    assert whole.facts.images == 2


def test_crops_to_train_on_are_cut_from_a_list(elsewhere: Path) -> None:
    crops = load_crops(DataConfig(images=elsewhere, allow_outside=True, count=4, forgeries=SMALL))
    assert crops.masks.flatten(1).any(1).tolist() == [True, True, False, False]
    with pytest.raises(ImageError, match="--allow-outside"):
        load_crops(DataConfig(images=elsewhere, count=4, forgeries=SMALL))


@pytest.mark.parametrize("option", ["--allow-outside", "--data.allow-outside"])
def test_train_trusts_a_list_that_it_is_told_to(elsewhere: Path, option: str) -> None:
    arguments = ["--output", "out", "--images", str(elsewhere), option]
    recipe, *_ = read_options(TwoStageRecipe, "two-stage", arguments)
    assert (recipe.data.images, recipe.data.allow_outside) == (elsewhere, True)
