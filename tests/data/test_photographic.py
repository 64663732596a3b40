"""Forgeries as people make them: histories on both sides, real saves, masks over what changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ansm_plugin.data.edits import EDITS, edited, recompressed, resized_mask, window
from ansm_plugin.data.labels import known_outlines
from ansm_plugin.data.montage import MAKERS, Area, Source
from ansm_plugin.data.outlines import Outline, labelled, outlines
from ansm_plugin.data.photographic import (
    PhotographicConfig,
    compose,
    forge_photograph,
    photographic,
)
from ansm_plugin.data.photographs import procedural
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.errors import ConfigError, ImageError

SMALL = PhotographicConfig(size=64, authentic=0.0)
AREA = Area(0.02, 0.4)


@pytest.fixture(scope="module")
def scenes() -> list[Pixels]:
    return procedural(4, seed=3, size=128)


def test_a_crop_depends_on_its_number_alone(scenes: list[Pixels]) -> None:
    one = photographic(scenes, 4, SMALL, seed=5, processes=1)
    two = photographic(scenes, 4, SMALL, seed=5, processes=2)
    fewer = photographic(scenes, 2, SMALL, seed=5, processes=1)
    assert torch.equal(one.images, two.images)
    assert torch.equal(one.masks, two.masks)
    assert torch.equal(one.images[:2], fewer.images)
    assert not torch.equal(fewer.images, photographic(scenes, 2, SMALL, seed=6, processes=1).images)


def test_forged_crops_have_masks_within_the_area(scenes: list[Pixels]) -> None:
    crops = photographic(scenes, 16, SMALL, seed=0, processes=1)
    shares = crops.masks.float().mean((1, 2, 3))
    assert set(crops.masks.unique().tolist()) == {0, 1}
    assert (shares > 0).float().mean() > 0.8  # some hosts have no room
    assert shares.max() < 0.45
    assert crops.hosts is not None
    assert crops.hosts.max() < len(scenes)


def test_authentic_crops_have_empty_masks_and_the_same_history(scenes: list[Pixels]) -> None:
    crops = photographic(scenes, 8, replace(SMALL, authentic=1.0), seed=0, processes=1)
    assert not crops.masks.any()
    source = Source(scenes)
    config = replace(SMALL, authentic=1.0)
    image = forge_photograph(source, config, np.random.default_rng(1)).image
    # Saved as JPEG at least once: not one of the host's own windows.
    host = window(scenes[0], 64, np.random.default_rng(1))
    assert image.shape == host.shape
    assert not any(_contains(scene, image) for scene in scenes)


def test_an_uncompressed_crop_is_the_one_that_would_have_been_saved(scenes: list[Pixels]) -> None:
    source = Source(scenes)
    config = replace(SMALL, uncompressed=1.0)
    crop = forge_photograph(source, config, np.random.default_rng(4))
    before = compose(source, SMALL, np.random.default_rng(4))
    saved = forge_photograph(source, SMALL, np.random.default_rng(4))
    assert np.array_equal(crop.image, before.image)
    assert np.array_equal(crop.mask, saved.mask)
    assert not np.array_equal(crop.image, saved.image)


def _contains(scene: Pixels, crop: Pixels) -> bool:
    side = len(crop)
    windows = np.lib.stride_tricks.sliding_window_view(scene[..., 0], (side, side))
    return bool((windows == crop[..., 0]).all((2, 3)).any())


@pytest.mark.parametrize("kind", MAKERS)
def test_what_is_pasted_differs_from_the_host_inside_its_mask(
    kind: str, scenes: list[Pixels]
) -> None:
    host = scenes[0][:96, :96].astype(np.float32)
    rng = np.random.default_rng(2)
    pasted = MAKERS[kind](host, Source(scenes), 0, AREA, rng)
    inside = pasted.mask == 1
    assert AREA.holds(pasted.mask)
    assert np.abs(pasted.content - host)[inside].mean() > 1


def test_copy_move_pastes_what_the_host_holds_elsewhere() -> None:
    scene = procedural(1, seed=9, size=128)[0]
    host = scene[:96, :96].astype(np.float32)
    colours = {tuple(pixel) for pixel in host.reshape(-1, 3).round().astype(int).tolist()}
    plain = 0
    for seed in range(12):
        pasted = MAKERS["copy_move"](host, Source([scene]), 0, AREA, np.random.default_rng(seed))
        inside = pasted.content[pasted.mask == 1].round().astype(int).tolist()
        plain += bool(inside) and all(tuple(pixel) in colours for pixel in inside)
    assert plain >= 2  # a third is neither turned nor resized, most of them not edited


def test_outlines_are_things_not_specks_nor_backgrounds() -> None:
    picture = np.full((120, 160, 3), 90, np.uint8)
    picture[30:90, 40:100] = (200, 40, 40)
    (outline,) = outlines(picture)
    assert abs(outline.top - 30) <= 3
    assert abs(outline.left - 40) <= 3
    assert abs(int(outline.shape.sum()) - 3600) < 800
    assert outlines(np.full((64, 64, 3), 7, np.uint8)) == []


def test_labels_name_things_and_leave_out_specks() -> None:
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 20:50] = 3
    labels[50:52, 70:72] = 4  # a speck
    labels[40:42, :] = 5  # thin, but all of its box
    things = labelled(labels)
    assert [(t.top, t.left, t.shape.shape) for t in things] == [
        (10, 20, (20, 30)),
        (40, 0, (2, 80)),
    ]


def test_things_are_cut_along_label_maps(tmp_path: Path) -> None:
    """Of plain photographs no segment is found; what is pasted has the shape that was named."""
    photographs = [np.full((80, 80, 3), level, np.uint8) for level in (40, 200)]
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    (tmp_path / "labels").mkdir()
    labels = np.zeros((80, 80), np.uint8)
    labels[20:50, 30:50] = 255
    for file in files:
        Image.fromarray(labels).save(tmp_path / "labels" / file.name)
    known = known_outlines(photographs, files, tmp_path / "labels")
    assert sorted(known) == [0, 1]
    assert known[0][0].shape.shape == (30, 20)
    config = replace(SMALL, kinds=("splice",))
    crops = photographic(photographs, 4, config, seed=0, known=known, processes=1)
    assert crops.masks.flatten(1).any(1).all()


def test_photographs_of_an_earlier_call_leave_no_outlines(scenes: list[Pixels]) -> None:
    """In one process: things of the photographs at hand, along the label maps at hand."""
    photographs = [np.full((80, 80, 3), level, np.uint8) for level in (40, 200)]
    config = replace(SMALL, kinds=("splice",))
    photographic(scenes, 2, SMALL, seed=0, processes=1)
    plain = photographic(photographs, 4, config, seed=0, processes=1)
    assert torch.equal(plain.masks, photographic(photographs, 4, config, seed=0, processes=2).masks)
    known = {n: [Outline(10, 10, np.ones((30, 30), np.uint8))] for n in (0, 1)}
    along = photographic(photographs, 4, config, seed=0, known=known, processes=1)
    assert not torch.equal(along.masks, plain.masks)


def test_label_maps_of_another_size_or_of_nothing_are_refused(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    photographs = [np.zeros((16, 16, 3), np.uint8)]
    with pytest.raises(ImageError, match="no label map of its photograph"):
        known_outlines(photographs, [Path("a.jpg")], tmp_path)
    with pytest.raises(ImageError, match="no photograph has a label map"):
        known_outlines(photographs, [Path("b.jpg")], tmp_path)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_keeps_size_and_range_and_changes_something(
    name: str, scenes: list[Pixels]
) -> None:
    before = scenes[1][:64, :64].astype(np.float32)
    after = EDITS[name](before.copy(), np.random.default_rng(0))
    assert after.shape == before.shape
    assert after.min() >= 0
    assert after.max() <= 255
    assert np.abs(after - before).mean() > 0.05


def test_no_edit_at_a_share_of_nothing(scenes: list[Pixels]) -> None:
    before = scenes[1][:64, :64].astype(np.float32)
    assert np.array_equal(edited(before, np.random.default_rng(0), 0.0), before)


def test_grids_begin_anywhere() -> None:
    """Even blocks on the grid of a save come through it; across its borders they ring."""
    blocks = np.random.default_rng(0).integers(40, 215, (12, 12, 1)).repeat(3, 2)
    picture = blocks.repeat(8, 0).repeat(8, 1).astype(np.float32)

    def error(aligned: float, seed: int) -> float:
        saved = recompressed(picture, np.random.default_rng(seed), aligned=aligned)
        return float(np.abs(saved - picture).mean())

    on_grid = [error(1.0, seed) for seed in range(8)]
    anywhere = [error(0.0, seed) for seed in range(8)]
    assert max(on_grid) < 1.2
    assert np.median(anywhere) > 2 * max(on_grid)


def test_a_mask_is_resampled_smoothly() -> None:
    mask = np.zeros((20, 20), np.uint8)
    mask[5:15, 5:15] = 1
    larger = resized_mask(mask, (40, 60))
    assert larger.shape == (40, 60)
    assert set(np.unique(larger)) == {0, 1}
    assert abs(larger.mean() - mask.mean()) < 0.02


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kinds": ("splyce",)}, "splice"),
        ({"kinds": ()}, "no kinds"),
        ({"kinds": ("splice:much",)}, "splice:0.5"),
        ({"size": 32}, "64 or more"),
        ({"area": (0.5, 0.1)}, "area"),
        ({"twice": 1.5}, "0 to 1"),
    ],
)
def test_what_cannot_be_made_is_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        PhotographicConfig(**given)  # type: ignore[arg-type]


def test_photographs_that_are_too_small_are_refused(scenes: list[Pixels]) -> None:
    with pytest.raises(ImageError, match="232 pixels"):
        photographic(scenes, 1, PhotographicConfig(), seed=0)
