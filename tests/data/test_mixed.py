"""Crops of several sources in given shares, and the style that forgeries are made in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.photographic import PhotographicConfig
from ansm_plugin.data.photographs import procedural
from ansm_plugin.data.uploaded import CHANNELS
from ansm_plugin.errors import ConfigError


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number, scene in enumerate(procedural(3, seed=1, size=96)):
        Image.fromarray(scene).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def bed(tmp_path: Path) -> Path:
    for kind in ("images", "masks"):
        (tmp_path / "bed" / kind).mkdir(parents=True)
    Image.new("RGB", (80, 80), (255, 0, 0)).save(tmp_path / "bed" / "images" / "a.png")
    mask = np.zeros((80, 80), np.uint8)
    mask[20:60, 20:60] = 255
    Image.fromarray(mask).save(tmp_path / "bed" / "masks" / "a.png")
    return tmp_path / "bed"


def config(photographs: Path) -> DataConfig:
    small = PhotographicConfig(size=64)
    return DataConfig(images=photographs, count=12, style="photographic", photographic=small)


def test_a_folder_of_photographs_in_the_style_that_is_asked_for(photographs: Path) -> None:
    crops = load_crops(config(photographs))
    assert crops.images.shape == (12, 3, 64, 64)
    assert config(photographs).size == 64
    planted = load_crops(replace(config(photographs), style="planted"))
    assert not np.array_equal(crops.images.numpy(), planted.images.numpy())


def test_a_share_of_the_crops_comes_from_each_bed(photographs: Path, bed: Path) -> None:
    mixed = replace(config(photographs), mixed=(f"{bed}:0.25",))
    crops = load_crops(mixed)
    red = (crops.images[:, 0] == 255).flatten(1).all(1) & crops.masks.flatten(1).any(1)
    assert red.tolist() == [False] * 9 + [True] * 3
    assert crops.hosts is not None
    assert set(crops.hosts[:9].tolist()).isdisjoint(crops.hosts[9:].tolist())


def test_a_share_of_the_crops_was_uploaded(photographs: Path) -> None:
    plain = load_crops(config(photographs))
    half = load_crops(replace(config(photographs), uploaded=0.5))
    changed = (plain.images != half.images).flatten(1).any(1)
    assert 1 <= int(changed.sum()) <= 11
    assert np.array_equal(plain.masks.numpy(), half.masks.numpy())
    with pytest.raises(ConfigError, match="0 to 1"):
        DataConfig(uploaded=2.0)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_changes_a_picture_little(name: str) -> None:
    scene = procedural(1, seed=4, size=96)[0]
    passed = CHANNELS[name](scene, np.random.default_rng(0))
    difference = np.abs(passed.astype(int) - scene).mean()
    assert passed.shape == scene.shape
    assert 0.1 < difference < 12


@pytest.mark.parametrize("text", ["bed", "bed:", "bed:much", "bed:0", "bed:1", ":0.5"])
def test_a_source_without_a_folder_and_a_share_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"beds/casia1:0\.5"):
        DataConfig(mixed=(text,))


def test_shares_leave_something_for_the_first_source() -> None:
    with pytest.raises(ConfigError, match="leave some"):
        DataConfig(mixed=("a:0.5", "b:0.5"))


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ConfigError, match="planted, photographic"):
        DataConfig(style="jpeg")  # type: ignore[arg-type]
