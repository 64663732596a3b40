"""Intervals over photographs, against cases that can be counted by hand."""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, permutations

import pytest
import torch
from torch import Tensor

from ansm_plugin.errors import ImageError
from ansm_plugin.metrics.intervals import (
    bootstrap_interval,
    count_sources,
    harm_interval,
    recovery_interval,
    resampled_means,
)


def f64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_crops_of_one_photograph_are_drawn_together() -> None:
    """Three photographs have ten resamples; each mean is over the images that were drawn."""
    values, sources = f64(0.1, 0.3, 0.3, 0.9, 0.5, 0.7), f64(7, 7, 7, 2, 5, 5)
    groups = [values[sources == s] for s in (7, 2, 5)]
    possible = {
        round(float(torch.cat([groups[i] for i in drawn]).mean()), 9)
        for drawn in combinations_with_replacement(range(3), 3)
    }
    (found,) = resampled_means(values[None], sources, seed=0)
    assert {round(mean, 9) for mean in found.tolist()} == possible
    # One photograph three times over comes once in 27 draws, above the 2.5 % that are cut off.
    low, high = bootstrap_interval(values, sources, seed=0, draws=4000)
    assert (low, high) == pytest.approx((0.7 / 3, 0.9))


def test_many_crops_of_few_photographs_are_worth_few() -> None:
    """The interval stays as wide however many equal crops a photograph gives."""
    means = torch.linspace(0.2, 0.8, 6, dtype=torch.float64)
    alone = bootstrap_interval(means, torch.arange(6), seed=1)
    crops = bootstrap_interval(
        means.repeat_interleave(16), torch.arange(6).repeat_interleave(16), seed=1
    )
    assert crops == pytest.approx(alone)
    taken_for_photographs = bootstrap_interval(means.repeat_interleave(16), seed=1)
    width = [high - low for low, high in (crops, taken_for_photographs)]
    assert width[0] > 3 * width[1]


def test_images_of_their_own_give_the_interval_of_before() -> None:
    """The same draws, the same bits, whatever the sources are called and where they lie."""
    values = torch.rand(17, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    values[3] = math.nan
    expected = bootstrap_interval(values, seed=5)
    assert bootstrap_interval(values, torch.arange(17), seed=5) == expected
    assert bootstrap_interval(values, 2**40 - torch.arange(17).double(), seed=5) == expected


@pytest.mark.parametrize("sources", [(1, 1, 1, 1), (1, 1, 2, 2), (1, 2, 2, 3)])
def test_fewer_than_three_photographs_have_no_interval(sources: tuple[int, ...]) -> None:
    """A photograph whose only image has no value counts for none."""
    values = f64(0.1, 0.2, 0.3, 0.4)
    if count_sources(torch.tensor(sources)) == 3:
        assert not math.isnan(bootstrap_interval(values, torch.tensor(sources), seed=0)[0])
        values[3] = math.nan
    ends = bootstrap_interval(values, torch.tensor(sources), seed=0)
    assert all(map(math.isnan, ends))
    assert all(
        map(math.isnan, recovery_interval(values, values, values, torch.tensor(sources), seed=0))
    )


def test_recovery_and_harm_are_taken_over_one_resample() -> None:
    """Images that differ much in difficulty, and not at all in what comes back: no width."""
    clean = f64(0.9, 0.7, 0.5, 0.3, 0.8)
    attacked = clean / 2
    defended = attacked + 0.5 * (clean - attacked)
    sources = torch.arange(5)
    found = recovery_interval(clean, attacked, defended, sources, seed=3)
    assert found == pytest.approx((0.5, 0.5))
    assert harm_interval(clean, clean - 0.02, sources, seed=3) == pytest.approx((0.02, 0.02))


def test_recovery_of_an_attack_that_often_takes_nothing_has_no_interval() -> None:
    """One photograph of four lost something: many resamples have nothing to give back."""
    clean, attacked = f64(0.9, 0.9, 0.9, 0.9), f64(0.1, 0.9, 0.9, 0.9)
    ends = recovery_interval(clean, attacked, clean, torch.arange(4), seed=0)
    assert all(map(math.isnan, ends))


def test_images_that_an_attack_left_out_count_for_nothing() -> None:
    clean, attacked = f64(0.9, 0.8, 0.7, 0.6), f64(0.1, 0.2, math.nan, 0.1)
    kept = [0, 1, 3]
    assert recovery_interval(clean, attacked, clean, torch.arange(4), seed=0) == recovery_interval(
        clean[kept], attacked[kept], clean[kept], torch.arange(3), seed=0
    )


def test_the_order_of_images_within_a_photograph_decides_nothing() -> None:
    values, sources = f64(0.1, 0.2, 0.4, 0.8, 0.6), torch.tensor([0, 0, 1, 1, 2])
    expected = bootstrap_interval(values, sources, seed=0)
    for order in permutations((0, 1)):
        chosen = [*order, 2, 3, 4]
        assert bootstrap_interval(values[chosen], sources[chosen], seed=0) == expected


def test_each_value_needs_a_source() -> None:
    with pytest.raises(ImageError, match="2 values and 3 sources"):
        bootstrap_interval(torch.ones(2), torch.ones(3), seed=0)
