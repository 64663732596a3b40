"""Crops for training: decided by their config, true to their masks, each file decoded once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.image_files import pairs_in, photograph, saved, square

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.errors import ConfigError, ImageError


def config(**changes: object) -> DataConfig:
    """Return a config of six crops of 32 pixels."""
    return DataConfig(**{"count": 6, "forgeries": ForgeryConfig(size=32), **changes})  # type: ignore[arg-type]


def test_crops_of_pairs_agree_with_their_masks(tmp_path: Path) -> None:
    mask = square()
    image = np.repeat(mask[..., None], 3, axis=2)  # forged pixels are white
    saved(tmp_path / "i" / "a.png", image)
    saved(tmp_path / "i" / "b.png", image)
    saved(tmp_path / "m" / "a.png", mask)
    saved(tmp_path / "m" / "b.png", mask)
    crops = load_crops(config(images=tmp_path / "i", masks=tmp_path / "m"))
    assert crops.images.shape == (6, 3, 32, 32)
    assert torch.equal(crops.images[:, :1] // 255, crops.masks)
    assert crops.masks.flatten(1).any(1).all()


def test_crops_depend_on_the_config_alone(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b", "a b")
    first, again, other = (
        load_crops(config(images=images, masks=masks, seed=seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)


def test_an_image_smaller_than_the_crop_is_named(tmp_path: Path) -> None:
    saved(tmp_path / "i" / "a.png", photograph(30, 50))
    saved(tmp_path / "m" / "a.png", square(30, 50))
    with pytest.raises(ImageError, match=r"a\.png is 50x30; crops of 32 need more"):
        load_crops(config(images=tmp_path / "i", masks=tmp_path / "m"))


def test_images_without_masks_are_forged(tmp_path: Path) -> None:
    images, _ = pairs_in(tmp_path, "a b", "")
    crops = load_crops(config(images=images))
    assert crops.masks.flatten(1).any(1).all()


@pytest.mark.parametrize("split", ["train", "test"])
def test_built_in_photographs_need_no_folder(split: str) -> None:
    assert len(load_crops(config(split=split))) == 6


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"masks": Path("m")}, "masks were given without images"),
        ({"count": 0}, "count is 0"),
        ({"split": "val"}, "split is 'val'; allowed: train, test"),
    ],
)
def test_contradictions_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**wrong)


@pytest.mark.parametrize("has_masks", [True, False])
def test_every_file_is_decoded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_masks: bool
) -> None:
    images, masks = pairs_in(tmp_path, "a b", "a b")
    opened: Counter[str] = Counter()
    real_open = Image.open

    def counting(file: Any, *args: Any, **options: Any) -> Image.Image:
        if isinstance(file, str | Path):  # the others are codecs in memory
            opened[str(file)] += 1
        return real_open(file, *args, **options)

    monkeypatch.setattr(Image, "open", counting)
    load_crops(config(images=images, masks=masks if has_masks else None))
    assert len(opened) == (4 if has_masks else 2)
    assert set(opened.values()) == {1}


def test_crops_keep_the_order_of_memory_of_photographs(tmp_path: Path) -> None:
    """Channels last: the localizer's last bits depend on it."""
    images, masks = pairs_in(tmp_path, "a b", "a b")
    crops = load_crops(config(images=images, masks=masks))
    assert crops.images.is_contiguous(memory_format=torch.channels_last)
