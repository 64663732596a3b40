"""Intervals over photographs: from where crops are cut to the numbers and the words."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.colour_blinded import forged_sample
from torch import nn

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import ForgeryConfig, forge, synthesize
from ansm_plugin.data.photographs import packaged
from ansm_plugin.data.samples import Sample, crop_samples, require_samples
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ImageError
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.results import BARE, DEFENDED, T1, T5
from ansm_plugin.metrics.intervals import bootstrap_interval
from ansm_plugin.report.page import page
from ansm_plugin.report.table import summary_lines

Defended = DefendedLocalizer[nn.Module]
SMALL = EvaluationConfig(threats=("T0", "T1"), attacks=("pgd",), eps_255=(2,), steps=2)


def sourced(names: Sequence[str], count: int | None = None) -> Sample:
    """Return images that were cut from these photographs."""
    return forged_sample(count or len(names))._replace(sources=tuple(names))


def test_crops_know_the_photograph_that_they_were_cut_from() -> None:
    """Each crop without forgery is found in its host, pixel by pixel; small ones are left out."""
    generator = torch.Generator().manual_seed(0)
    photographs = [
        torch.randint(0, 256, (side, 48, 3), generator=generator, dtype=torch.uint8).numpy()
        for side in (20, 40, 48, 44)
    ]
    config = ForgeryConfig(size=32, authentic=1.0)
    crops = synthesize(photographs, 12, config, seed=3, processes=1)
    assert crops.hosts is not None
    assert set(crops.hosts.tolist()) == {1, 2, 3}
    for image, host in zip(crops.images, crops.hosts.tolist(), strict=True):
        windows = torch.from_numpy(photographs[host]).unfold(0, 32, 1).unfold(1, 32, 1)
        assert bool((windows == image).all(-1).all(-1).all(-1).any())
    several = synthesize(photographs, 12, config, seed=3, processes=2)
    assert torch.equal(several.images, crops.images)
    assert several.hosts is not None
    assert torch.equal(several.hosts, crops.hosts)


def test_knowing_the_host_changes_no_draw() -> None:
    import numpy as np

    config, photographs = ForgeryConfig(), packaged("test")
    crops = synthesize(photographs, 3, config, seed=1, processes=1)
    for index in range(3):
        image, mask = forge(photographs, config, np.random.default_rng((1, index)))
        assert torch.equal(crops.images[index], torch.from_numpy(image.transpose(2, 0, 1).copy()))
        assert torch.equal(crops.masks[index, 0], torch.from_numpy(mask))


def test_built_in_crops_have_three_sources() -> None:
    """The figures of the packaged table are of three photographs."""
    crops = load_crops(DataConfig(split="test", count=40))
    (first, *_) = crop_samples(crops)
    assert len({*first.sources}) == 3
    assert len(first.sources) == len(first.names)


def test_a_half_size_copy_is_the_same_photograph() -> None:
    crops = load_crops(DataConfig(split="train", count=300))
    own = len(packaged("train"))
    assert crops.hosts is not None
    hosts = {*crops.hosts.tolist()}
    assert hosts & {*range(own)}
    assert not hosts & {*range(own, 2 * own)}


def test_a_sample_is_still_three_things_to_unpack() -> None:
    sample = sourced(["a", "b"])
    images, masks, names = sample
    assert len(sample) == 3
    for again in (
        sample._replace(names=("x", "y")),
        copy.copy(sample),
        pickle.loads(pickle.dumps(sample)),
    ):
        assert again.sources == ("a", "b")
        assert torch.equal(again.images, images)
    assert Sample(images, masks, names).sources == ()
    with pytest.raises(ImageError, match="1 sources for 2 images"):
        require_samples([sample._replace(sources=("a",))])


def test_numbers_of_sources_are_equal_for_equal_names_alone() -> None:
    numbers = sourced(["a", "b", "a"]).source_numbers(0).tolist()
    assert numbers[0] == numbers[2] != numbers[1]
    assert sourced(["b"]).source_numbers(5).tolist() == numbers[1:2]
    own = [n for batch in (0, 1) for n in sourced([], 2).source_numbers(batch).tolist()]
    assert len({*own, *numbers}) == 6
    assert all(number == int(number) < 2**48 for number in own)


def _row(evaluation: Evaluation, defence: str) -> tuple[float, float]:
    (row,) = evaluation.rows.only(threat=T1, defence=defence)
    return row.f1_low, row.f1_high


def test_intervals_are_over_photographs(defended: Defended) -> None:
    """Means stay, intervals are those of the sources, and rows and words say of how many."""
    samples = [sourced(["a", "b", "a", "c"]), sourced(["c", "c", "b", "a"])]
    alone = [sample._replace(sources=()) for sample in samples]
    found, before = (evaluate(defended, given, SMALL) for given in (samples, alone))
    assert [r.f1 for r in found.rows] == [r.f1 for r in before.rows]
    assert {r.photographs for r in found.rows} == {3}
    assert {r.photographs for r in before.rows} == {None}
    assert "Intervals are over photographs: 8 images of 3 photographs." in [*summary_lines(found)]
    assert "8 images of 3 photographs" in page(found)
    assert "photographs:" not in "".join(summary_lines(before))
    again = Evaluation.from_json(json.loads(json.dumps(found.as_json())))
    assert again == found


def test_the_rows_have_the_interval_of_their_images(defended: Defended) -> None:
    from ansm_plugin.evaluation.plan import plan
    from ansm_plugin.evaluation.rows import make_rows
    from ansm_plugin.evaluation.scores import Scores

    cells = plan(SMALL)
    values, source = torch.rand(6, dtype=torch.float64), torch.tensor([1.0, 2, 3, 1, 2, 3])
    scores = Scores(*[values] * 5, values[:0], values, values, source)
    rows = list(make_rows(cells, [dict.fromkeys(c.scored, scores) for c in cells], 0))
    expected = bootstrap_interval(values, source, seed=0)
    assert {(row.f1_low, row.f1_high) for row in rows} == {expected}


@pytest.mark.parametrize("names", [("a", "a", "b", "b"), ("a", "a", "a", "a")])
def test_an_interval_of_fewer_than_three_photographs_is_not_defined(
    defended: Defended, names: tuple[str, ...]
) -> None:
    """No number pretends to be one; old readers get all that F1 can be."""
    found = evaluate(defended, [sourced(names)], SMALL)
    count = len({*names})
    assert _row(found, BARE) == _row(found, DEFENDED) == (0.0, 1.0)
    assert not any(row.has_interval for row in found.rows)
    summary = found.as_json()["summary"]
    assert (summary["harm_low"], summary["harm_high"]) == (None, None)
    assert {*summary["recovery_low"].values(), *summary["recovery_high"].values()} == {None}
    (line,) = (line for line in summary_lines(found) if "not defined" in line)
    assert line.startswith(f"Interval not defined: {count} photograph")
    assert f"interval not defined: {count} photograph" in page(found)
    assert Evaluation.from_json(json.loads(json.dumps(found.as_json()))) == found


def test_two_whole_images_are_two_photographs(defended: Defended) -> None:
    found = evaluate(defended, [forged_sample(2)], SMALL)
    assert not any(row.has_interval for row in found.rows)
    assert "interval not defined: 2 photographs" in page(found)


def test_images_that_a_crop_takes_away_take_their_photograph_along(defended: Defended) -> None:
    """T5 may cut the forged region of an image away: the others keep their own sources."""
    sample = sourced(["a", "b", "c", "d"])
    sample.masks[1] = 0
    sample.masks[1, :, 0, 0] = 1  # in the corner that a crop cuts off
    config = replace(SMALL, threats=("T0", "T5"), channels=("crop-75",))
    rows = evaluate(defended, [sample], config).rows.only(threat=T5)
    assert {(row.images, row.sources) for row in rows} == {(3, 3)}
    three = replace_sources(sample, ("a", "b", "a", "d"))
    rows = evaluate(defended, [three], config).rows.only(threat=T5)
    assert {(row.images, row.photographs) for row in rows} == {(3, 2)}


def replace_sources(sample: Sample, names: tuple[str, ...]) -> Sample:
    return sample._replace(sources=names)


def test_finished_parts_keep_their_photographs(defended: Defended, tmp_path: Path) -> None:
    """A run that goes on has the intervals of one that was never stopped."""
    path, samples = tmp_path / "records.jsonl", [sourced(["a", "b", "c", "a"])]
    whole = evaluate(defended, samples, SMALL, records=path)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:1]))
    assert evaluate(defended, samples, SMALL, records=path) == whole
    other = [sourced(["a", "a", "c", "b"])]
    assert evaluate(defended, other, SMALL, records=path) == evaluate(defended, other, SMALL)
