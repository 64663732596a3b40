"""Photographs without a download: packaged ones and procedural scenes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ansm_plugin.data.photographs import halved, packaged, procedural
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.errors import ConfigError


@pytest.mark.parametrize(("split", "count"), [("train", 9), ("test", 3), ("cameras", 10)])
def test_packaged_photographs_are_there(split: Any, count: int) -> None:
    photographs = packaged(split)
    assert len(photographs) == count
    for photograph in photographs:
        assert photograph.dtype == np.uint8
        assert photograph.shape[2] == 3
        assert min(photograph.shape[:2]) >= 200


def test_no_photograph_is_in_both_splits() -> None:
    train, test = ({p.tobytes() for p in packaged(split)} for split in ("train", "test"))
    assert not train & test


def test_another_split_is_refused() -> None:
    with pytest.raises(ConfigError, match="split is 'val'; allowed: train, test"):
        packaged("val")  # type: ignore[arg-type]


def test_scenes_depend_on_seed_and_index_alone() -> None:
    first, more, other = procedural(2, seed=1, size=64), procedural(3, seed=1, size=64), None
    assert all(np.array_equal(a, b) for a, b in zip(first, more, strict=False))
    other = procedural(1, seed=2, size=64)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], first[1])


def test_scenes_look_like_photographs() -> None:
    """Enough contrast, colour, and neighbours that resemble each other."""
    for photograph in procedural(5, seed=0, size=96):
        pixels = photograph.astype(float)
        assert photograph.shape == (96, 96, 3)
        assert pixels.std() > 5
        neighbours = np.corrcoef(pixels[:, 1:].ravel(), pixels[:, :-1].ravel())[0, 1]
        assert neighbours > 0.8


def test_halving_averages_blocks_of_four() -> None:
    photograph: Pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    blocks = photograph.reshape(3, 2, 4, 2, 3).astype(float).mean((1, 3))
    half = halved(photograph)
    assert half.shape == (3, 4, 3)
    assert np.abs(half - blocks).max() <= 1


def test_any_number_of_processes_makes_the_same_scenes() -> None:
    one, two = (procedural(6, seed=3, size=64, processes=count) for count in (1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
