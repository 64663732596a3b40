"""The attack score tells noise from none, and survives files."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.scored import *  # noqa: F403 - fixtures, found by their names
from support.scored import THIN, constant
from torch import Tensor, nn

from ansm_plugin import ANSM, DefendedLocalizer, LocalizerSpec, load_pretrained, wrap_with_ansm
from ansm_plugin.attack_score import FEATURES, AttackScore, features, fit_score
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer
from ansm_plugin.cli import main
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.evaluation.calibration import (
    HARMLESS,
    Calibration,
    calibrate,
    halves,
    harmless,
    observe,
)
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.weights.ansm_file import AnsmFile, save_ansm

# --- the score ------------------------------------------------------------------------------------


def test_the_packaged_score_tells_attacked_from_unattacked(
    packaged: DefendedLocalizer[nn.Module], generator: torch.Generator
) -> None:
    crops = load_crops(DataConfig(split="test", count=12, seed=3))
    images, masks = crops.images.float().div(255), crops.masks.float()
    bare = mask_forward(packaged.localizer, packaged.spec)
    noisy = run_attack(bare, images, masks, 4 / 255, attack_spec("pgd"), generator=generator)
    jpeg = harmless("jpeg-90", images, generator)
    with torch.no_grad():
        attacked, *others = (
            packaged.attack_score(packaged.spec.normalise(x)) for x in (noisy, images, jpeg)
        )
    assert (attacked > 0).all()
    assert all((other < attacked.min()).all() for other in others)


@pytest.mark.parametrize("size", [(1, 1), (2, 9), (64, 64)])
def test_features_are_finite_for_every_image_and_so_is_their_gradient(
    tiny: nn.Module, tiny_spec: LocalizerSpec, thin: ANSM, size: tuple[int, int]
) -> None:
    for ansm in (thin, ANSM(THIN)):
        defended = DefendedLocalizer(tiny, ansm, tiny_spec, score=constant(0.0))
        for value in (0.0, 0.5, 1.0):
            flat = torch.full((2, 3, *size), value, requires_grad=True)
            found = features(*defended.examine(tiny_spec.normalise(flat)))
            assert found.shape == (2, len(FEATURES))
            assert found.isfinite().all()
            (gradient,) = torch.autograd.grad(found.sum(), flat)
            assert gradient.isfinite().all()


def test_images_of_a_batch_are_scored_alone(
    tiny: nn.Module, tiny_spec: LocalizerSpec, thin: ANSM, pixels: Tensor
) -> None:
    defended = DefendedLocalizer(tiny, thin, tiny_spec)
    together = features(*defended.examine(pixels))
    alone = torch.cat([features(*defended.examine(one[None])) for one in pixels])
    torch.testing.assert_close(together, alone, rtol=1e-3, atol=1e-3)


def test_a_score_is_fitted_with_few_false_alarms(generator: torch.Generator) -> None:
    clean = torch.randn(400, len(FEATURES), generator=generator)
    attacked = torch.randn(400, len(FEATURES), generator=generator)
    attacked[:, 3] += 8
    score = fit_score([clean], [attacked])
    assert (score(clean) > 0).float().mean() <= 0.01
    assert (score(attacked) > 0).float().mean() > 0.97
    assert score == fit_score([clean], [attacked])


def test_a_score_needs_both_sides_and_finite_features() -> None:
    some = torch.zeros(2, len(FEATURES))
    with pytest.raises(ConfigError, match="both kinds"):
        fit_score([some], [])
    with pytest.raises(ConfigError, match="not finite"):
        fit_score([some], [some / 0])
    with pytest.raises(ConfigError, match="finite ones"):
        AttackScore(weights=(1.0,), bias=0.0)


def test_without_calibration_the_error_says_how(tiny: nn.Module, tiny_spec: LocalizerSpec) -> None:
    defended = wrap_with_ansm(tiny, spec=tiny_spec)
    with pytest.raises(WeightsError, match="ansm calibrate"):
        defended.attack_score(torch.rand(1, 3, 16, 16))
    with pytest.raises(WeightsError, match="ansm calibrate"):
        wrap_with_ansm(build_localizer(DEFAULT_LOCALIZER), gate=True)


def test_calibration_fits_what_it_is_given_and_keeps_to_its_seed(
    packaged: DefendedLocalizer[nn.Module],
) -> None:
    crops = load_crops(DataConfig(split="test", count=4, seed=3))
    config = Calibration(harmless=("none", "noise"), attacks=("pgd",), eps_255=(8,), steps=3)
    score = calibrate(packaged, crops, config)
    assert score == calibrate(packaged, crops, config)
    clean = observe(packaged, crops.images.float().div(255))
    assert (score(clean) <= 0.5).all()


def test_the_threshold_is_set_on_photographs_that_the_weights_do_not_know() -> None:
    """No photograph is in both halves, which are about as large; unknown ones are their own."""
    blank = torch.zeros(12, 3, 8, 8, dtype=torch.uint8)
    hosts = torch.tensor([5, 5, 5, 5, 5, 2, 2, 2, 9, 9, 7, 7])
    fit, held_out = halves(Forgeries(blank, blank[:, :1], hosts))
    assert sorted([*fit.tolist(), *held_out.tolist()]) == [*range(12)]
    assert not {*hosts[fit].tolist()} & {*hosts[held_out].tolist()}
    assert {len(fit), len(held_out)} == {5, 7}
    fit, held_out = halves(Forgeries(blank, blank[:, :1]))
    assert len(fit) == len(held_out) == 6
    fit, held_out = halves(Forgeries(blank, blank[:, :1], torch.zeros(12)))
    assert not {*fit.tolist()} & {*held_out.tolist()}
    assert [part.tolist() for part in halves(Forgeries(blank[:1], blank[:1, :1]))] == [[0], [0]]


def test_a_threshold_that_was_held_out_keeps_its_promise(generator: torch.Generator) -> None:
    """Few images of many statistics are told apart by chance; unseen ones are not."""
    count = len(FEATURES) + 2
    clean, attacked, held_out, fresh = (
        torch.randn(n, len(FEATURES), generator=generator) for n in (count, count, 400, 4000)
    )
    alone, apart = fit_score([clean], [attacked]), fit_score([clean], [attacked], [held_out])
    assert alone.weights == apart.weights
    alarms = [float((score(fresh) > 0).double().mean()) for score in (alone, apart)]
    assert alarms[0] > 0.1
    assert alarms[1] < 0.03
    with pytest.raises(ConfigError, match="not finite"):
        fit_score([clean], [attacked], [held_out * math.inf])


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_processing_gives_8_bit_images(
    name: str, pixels: Tensor, generator: torch.Generator
) -> None:
    levels = 255 * harmless(name, pixels.mul(255).round().div(255), generator)
    assert levels.shape == pixels.shape
    torch.testing.assert_close(levels, levels.round(), atol=1e-3, rtol=0)


# --- in files -------------------------------------------------------------------------------------


def test_a_score_comes_back_from_the_file_of_its_ansm(tmp_path: Path, thin: ANSM) -> None:
    file = save_ansm(thin, tmp_path / "a.safetensors")
    read = AnsmFile.read(file)
    assert read.score is None
    before = file.read_bytes()
    copy = replace(read, score=constant(1.5)).write(tmp_path / "b.safetensors")
    assert AnsmFile.read(copy).score == constant(1.5)
    assert file.read_bytes() == before
    replace(AnsmFile.read(copy), score=constant(2.5)).write(copy)
    assert AnsmFile.read(copy).score == constant(2.5)


def test_save_pretrained_keeps_the_score(
    tmp_path: Path, packaged: DefendedLocalizer[nn.Module]
) -> None:
    packaged.save_pretrained(tmp_path / "hub")
    again = load_pretrained(tmp_path / "hub", build_localizer(DEFAULT_LOCALIZER))
    assert again.score == packaged.score


@pytest.mark.parametrize("damaged", [{}, {"weights": [1]}, {"weights": {"size": 1}, "bias": 0}])
def test_a_damaged_score_is_explained(damaged: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="ansm calibrate"):
        AttackScore.from_dict(damaged, "file")
    whole = constant(0.0).as_dict()
    with pytest.raises(WeightsError, match="cannot be used"):
        AttackScore.from_dict(whole | {"bias": float("nan")}, "file")


def test_calibrate_writes_a_copy_of_the_ansm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "scored.safetensors"
    assert main(["calibrate", "--count", "4", "--output", str(file)]) == 0
    assert "forging crops 4/4" in capsys.readouterr().err
    assert AnsmFile.read(file).score is not None
    assert main(["calibrate", "--count", "4", "--output", str(file)]) == 2
    assert "--force" in capsys.readouterr().err
