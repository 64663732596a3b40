"""A localizer on a few steps: what it learns, what it starts from, how it goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.short_runs import QUICK, Watcher, files, same
from support.users_localizer import LOCALIZER

from ansm_plugin.backbones.reference import build_architecture, build_localizer
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.errors import TrainingInterrupted, WeightsError
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import localizer
from ansm_plugin.recipes.localizer import LocalizerRecipe
from ansm_plugin.training.randomness import seeded
from ansm_plugin.weights.tensors import read_metadata, write_tensors


def test_a_localizer_learns_and_can_be_used(
    tmp_path: Path, user_code: Path, data: DataConfig
) -> None:
    fit = replace(QUICK, steps=60, batch_size=8, learning_rate=0.02, averaging=0.0)
    recipe, watcher = LocalizerRecipe(localizer=LOCALIZER, data=data, fit=fit), Watcher()
    path = localizer.run(recipe, tmp_path / "run", watcher)
    assert sum(watcher.losses[-5:]) < 0.5 * sum(watcher.losses[:5])
    assert files(tmp_path / "run") == {"localizer.safetensors", "localizer.toml"}
    trained = build_localizer(f"{LOCALIZER}@{path}")
    metadata = read_metadata(path)
    assert metadata["name"] == LOCALIZER
    assert metadata["sha256"] == fingerprint(trained)
    assert not trained.training


def test_an_smp_localizer_trains_in_bf16(tmp_path: Path, data: DataConfig) -> None:
    name = "smp:Unet?encoder_name=tu-regnetx_002&encoder_depth=3&decoder_channels=16,8,8"
    fit = replace(QUICK, steps=2, precision="bf16")
    path = localizer.run(LocalizerRecipe(localizer=name, data=data, fit=fit), tmp_path / "run")
    assert all(torch.isfinite(t).all() for t in load_file(path).values())


def test_an_interrupted_localizer_ends_like_an_uninterrupted_one(
    tmp_path: Path, user_code: Path, data: DataConfig
) -> None:
    recipe = LocalizerRecipe(localizer=LOCALIZER, data=data, fit=replace(QUICK, steps=8))
    whole = localizer.run(recipe, tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match="Run the same command"):
        localizer.run(recipe, tmp_path / "broken", Watcher("localizer", 3))
    assert "localizer.safetensors" not in files(tmp_path / "broken")
    rest = Watcher()
    assert same(localizer.run(recipe, tmp_path / "broken", rest), whole)
    assert rest.steps_of("localizer") == [5, 6, 7, 8]


def test_a_localizer_starts_from_an_encoder_or_from_a_whole_one(
    tmp_path: Path, data: DataConfig
) -> None:
    name = "smp:Unet?encoder_name=tu-regnetx_002&encoder_depth=2&decoder_channels=8,4"
    fit = replace(QUICK, steps=1, learning_rate=1e-9, weight_decay=0.0, averaging=0.0)
    with seeded(5):
        donor = build_architecture(name)
    for part, prefix in ((donor, ""), (donor.encoder, "encoder.")):
        start = write_tensors(part.state_dict(), tmp_path / "start.safetensors", {})  # type: ignore[union-attr]
        recipe = LocalizerRecipe(localizer=name, start=start, data=data, fit=fit)
        trained = load_file(localizer.run(recipe, tmp_path / f"run{prefix}"))
        given = load_file(start)
        weights = [key for key in given if key.endswith("conv.weight")]
        assert weights
        for key in weights:
            torch.testing.assert_close(trained[prefix + key], given[key], rtol=0, atol=1e-6)


@pytest.mark.usefixtures("user_code")
def test_foreign_weights_to_start_from_are_refused(tmp_path: Path, data: DataConfig) -> None:
    start = write_tensors({"a": torch.zeros(1)}, tmp_path / "a.safetensors", {})
    with pytest.raises(WeightsError, match=r"a\.safetensors does not fit"):
        localizer.run(LocalizerRecipe(localizer=LOCALIZER, start=start, data=data), tmp_path)


def test_a_user_module_can_be_described(user_code: Path) -> None:
    """The fixture is a fair example: its normalisation is found, without a warning."""
    victim = build_localizer(LOCALIZER)
    assert describe(victim).std == (0.25, 0.25, 0.25)
