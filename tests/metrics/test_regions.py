"""Regions of a mask and the score of a photograph."""

from __future__ import annotations

import numpy as np
import pytest

from ansm_plugin.data.probability import to_levels
from ansm_plugin.metrics import regions
from ansm_plugin.metrics.regions import Region, photograph_score, regions_of


def test_regions_have_box_area_and_probabilities() -> None:
    probabilities = np.zeros((2500, 40), np.float32)  # more rows than are summed at once
    probabilities[1000:1100, 5:15] = 0.75
    probabilities[1050, 10] = 1
    probabilities[5:15, 20:25] = 0.5625
    found = regions_of(probabilities, probabilities > 0.5)
    assert found.others == 0
    large, small = found.listed
    assert large == Region(
        x=5, y=1000, width=10, height=100, area=1000, mean=pytest.approx(0.75025), highest=1.0
    )
    assert small == Region(x=20, y=5, width=5, height=10, area=50, mean=0.5625, highest=0.5625)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[6:10, 6:10] = True
    assert [r.area for r in regions_of(mask.astype(np.float32), mask).listed] == [32]


def test_small_regions_are_counted_alone() -> None:
    mask = np.zeros((400, 500), bool)  # a share of 1e-4 is 20 pixels
    mask[10, 10:30] = mask[20, 10:29] = mask[30, 30] = True
    found = regions_of(mask.astype(np.float32), mask)
    assert ([r.area for r in found.listed], found.others) == ([20], 2)


def test_many_regions_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions, "MOST_REGIONS", 2)
    mask = np.zeros((60, 60), bool)
    for top, height in ((0, 6), (10, 9), (30, 7)):
        mask[top : top + height, :5] = True
    found = regions_of(mask.astype(np.float32), mask)
    assert ([r.area for r in found.listed], found.others) == ([45, 35], 1)


def test_an_empty_mask_has_no_region() -> None:
    found = regions_of(np.zeros((9, 9), np.float32), np.zeros((9, 9), bool))
    assert found == ([], 0)


@pytest.mark.parametrize("shape", [(1, 1), (30, 70), (1500, 40)])
def test_the_score_is_the_mean_of_the_highest_pixels(shape: tuple[int, int]) -> None:
    probabilities = np.random.default_rng(0).random(shape, dtype=np.float32) ** 4
    count = max(1, round(0.005 * probabilities.size))
    expected = np.sort(probabilities.ravel())[-count:].mean()
    assert photograph_score(to_levels(probabilities)) == pytest.approx(expected, abs=2e-5)


def test_the_score_is_0_for_nothing_and_1_for_all() -> None:
    assert photograph_score(to_levels(np.zeros((50, 50), np.float32))) == 0
    assert photograph_score(to_levels(np.ones((50, 50), np.float32))) == 1
