"""The transplant test: what is measured, on which images, and how it is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.colour_blinded import SPEC, ColourBlinded, Decolour, authentic_sample, forged_sample
from support.modules import SecondLocalizer, identity
from torch import nn

from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate
from ansm_plugin.evaluation.checks.transplant import IMAGES
from ansm_plugin.evaluation.transplant import Transplant, mean_of
from ansm_plugin.report.page import page
from ansm_plugin.report.table import summary_lines

T0_ALONE = EvaluationConfig(threats=("T0",))
T1_TOO = EvaluationConfig(threats=("T0", "T1"), attacks=("pgd",), eps_255=(4, 8), steps=3)


def measured(
    module: nn.Module,
    samples: list[Sample],
    config: EvaluationConfig = T0_ALONE,
    records: Path | None = None,
) -> Evaluation:
    defended = DefendedLocalizer(ColourBlinded(), module, SPEC).eval()
    return evaluate(defended, samples, config, records=records)


def transplant(
    module: nn.Module, samples: list[Sample], config: EvaluationConfig = T0_ALONE
) -> Transplant:
    found = measured(module, samples, config).transplant
    assert found is not None
    return found


def placed(top: int, left: int, height: int = 16, width: int = 16) -> Sample:
    """Return one forged image whose square lies there."""
    masks = torch.zeros(1, 1, height, width)
    masks[..., top : top + 5, left : left + 5] = 1
    images = (0.5 + 0.02 * (2 * masks - 1)).expand(-1, 3, -1, -1)
    return Sample(images, masks, (f"{top} {left}",))


def test_what_a_module_adds_is_scored_without_the_image() -> None:
    one, other = placed(1, 1), placed(9, 8)
    images, masks = (torch.cat([one[i], other[i]]) for i in (0, 1))
    sample = Sample(images, masks, ("a", "b"))
    found = transplant(SecondLocalizer(), [sample, authentic_sample()])
    assert found.images == 2
    assert found.f1 == pytest.approx(1)
    assert (
        found.control_f1 == found.negated_f1 == found.authentic_clean_f1 == 0
    )  # none of it is built in
    assert 5 < found.rms_255 < 8
    assert found.overwrites


def test_the_control_of_a_single_image_and_of_equal_masks_is_moved() -> None:
    """Else what is added to "another" image would mark the same place."""
    for sample in (placed(1, 1), forged_sample(3)):
        found = transplant(SecondLocalizer(), [sample])
        assert (found.f1 > 0.99, found.control_f1) == (True, 0)


def test_sizes_may_differ_between_batches_and_exceed_a_tile() -> None:
    """Large images are cut to the tile that their mask fills most."""
    samples = [placed(2, 3, 700, 650), placed(5, 5, 20, 24), placed(200, 180, 260, 260)]
    tiled = replace(T0_ALONE, tile=192)
    found = transplant(SecondLocalizer(), samples, tiled)
    assert found.images == 3
    assert found.f1 > 0.99


def test_the_first_images_are_chosen_by_the_seed() -> None:
    samples = [forged_sample(60), forged_sample(60, seed=1)]
    found = transplant(Decolour(), samples)
    assert found.images == IMAGES
    assert transplant(Decolour(), samples) == found
    assert transplant(Decolour(), samples, replace(T0_ALONE, seed=1)) != found


def test_attacked_images_are_looked_at_under_the_first_attack_at_its_largest_radius() -> None:
    found = transplant(Decolour(), [forged_sample()], T1_TOO)
    assert found.attack == "pgd@8"
    assert found.attacked_distance_255 == pytest.approx(7.5, abs=0.6)
    assert found.distance_ratio is not None
    assert found.distance_ratio < 0.5
    assert found.noise_cosine is not None
    assert found.noise_cosine > 0.8
    idle = transplant(identity(), [forged_sample()], T1_TOO)
    assert (idle.distance_ratio, idle.noise_cosine) == (1, 0)


def test_what_a_filter_takes_away_is_no_message() -> None:
    """Figures as measured before the packaged localizer."""
    fields = {"images": 24, "authentic_f1": 0.9, "authentic_clean_f1": 0.0, "rms_255": 8.0}
    even = Transplant(
        f1=0.97, control_f1=0.17, negated_f1=0.97, error=0.03, detail_cosine=-0.41, **fields
    )
    assert (even.takes_away, even.overwrites) == (True, False)
    assert replace(even, negated_f1=0.41).overwrites  # signed: a message
    assert replace(even, detail_cosine=-0.03).overwrites  # not made of the picture's own detail
    assert not replace(even, detail_cosine=0.0, f1=0.21).overwrites
    assert not replace(even, detail_cosine=0.0, f1=0.27, error=0.06).overwrites  # chance


def test_it_comes_back_from_its_file_and_a_run_goes_on(tmp_path: Path) -> None:
    path, samples = tmp_path / "records.jsonl", [forged_sample(), authentic_sample()]
    whole = measured(Decolour(), samples, T1_TOO, path)
    assert Evaluation.from_json(json.loads(json.dumps(whole.as_json()))) == whole
    lines = path.read_text().splitlines()
    assert measured(Decolour(), samples, T1_TOO, path) == whole
    assert path.read_text().splitlines() == lines
    assert any('"values"' in line for line in lines)
    path.write_text("\n".join(line for line in lines if '"values"' not in line) + "\n")
    assert measured(Decolour(), samples, T1_TOO, path) == whole


def test_without_forged_images_there_is_none() -> None:
    assert mean_of([{}, {}], None) is None


def test_table_and_page_say_it_in_words() -> None:
    found = measured(SecondLocalizer(), [forged_sample()], T1_TOO)
    (said,) = (line for line in summary_lines(found) if line.startswith("Transplant"))
    assert "4 original forgeries" in said
    assert "writes a mask of its own" in said
    assert any("Under pgd@8 the image lies" in line for line in summary_lines(found))
    assert "rms from the original behind it, pgd@8" in page(found)
    old = replace(found, transplant=None)
    assert "Transplant" not in page(old) + " ".join(summary_lines(old)).replace("a mask", "")
