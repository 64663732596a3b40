"""Stage 1 on a few steps: what it writes, what it starts from, how it goes on."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.short_runs import QUICK, RENAMED, Fields, Watcher, ffa_recipe, files, same
from support.users_localizer import LOCALIZER

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import ConfigError, TrainingInterrupted
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import ffa, two_stage
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.mgr import Mgr
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm
from ansm_plugin.weights.tensors import read_metadata, sha256_of

pytestmark = pytest.mark.usefixtures("_thin_preset")


@pytest.mark.parametrize("loss", ["channelwise_kl", "reverse_kl", "l2cos"])
def test_stage_1_writes_weights_with_their_provenance(
    tmp_path: Path, stage: Fields, loss: Any
) -> None:
    recipe = FfaRecipe(**stage(ansm="thin", ffa=Ffa(loss=loss, taps=("stem",), fit=QUICK)))
    path = ffa.run(recipe, tmp_path / "run")
    assert files(tmp_path / "run") == {"attacked", "ffa.safetensors", "ffa.toml"}
    assert not load_ansm(path).is_identity
    metadata = read_metadata(path)
    assert metadata["stage"] == "ffa"
    assert json.loads(metadata["recipe"]) == json.loads(json.dumps(asdict(recipe), default=str))
    victim = build_localizer(LOCALIZER)
    assert json.loads(metadata["localizer"]) == {
        "family": "plain", "class": "Localizer", "sha256": fingerprint(victim)
    }  # fmt: skip
    assert json.loads(metadata["normalisation"])["mean"] == [0.5, 0.5, 0.5]
    assert json.loads(metadata["metrics"]).keys() == {"loss", "gradient", "saturated"}
    assert json.loads(metadata["parent"]) == ""
    wrap_with_ansm(victim, str(path))  # warns when trained for another localizer


@pytest.mark.parametrize("name", ["ffa", "two-stage"])
def test_stage_1_starts_from_the_ansm_of_another_localizer(
    tmp_path: Path, stage: Fields, name: str
) -> None:
    donor = ANSM("thin")
    torch.nn.init.constant_(donor.trunk.head.weight, 0.1)
    start = save_ansm(donor, tmp_path / "donor.safetensors")
    still = replace(QUICK, steps=1, learning_rate=1e-9, weight_decay=0.0, averaging=0.0)
    choices: dict[str, Any] = {"ffa": Ffa(taps=("stem",), fit=still), "start": start}
    if name == "ffa":
        path = ffa.run(FfaRecipe(**stage(**choices)), tmp_path)
    else:
        two_stage.run(TwoStageRecipe(**stage(**choices, mgr=Mgr(fit=still))), tmp_path)
        path = tmp_path / "ffa.safetensors"
    assert json.loads(read_metadata(path)["parent"]) == sha256_of(start)
    for key, value in load_file(path).items():
        torch.testing.assert_close(value, donor.state_dict()[key], rtol=0, atol=1e-6)


def test_stage_1_aligns_features(tmp_path: Path, stage: Fields) -> None:
    fit = replace(QUICK, steps=200, batch_size=12, learning_rate=0.02)
    watcher = Watcher()
    ffa.run(FfaRecipe(**stage(ansm="thin", ffa=Ffa(taps=("stem",), fit=fit))), tmp_path, watcher)
    assert sum(watcher.losses[-20:]) < 0.9 * sum(watcher.losses[:20])


def test_stage_1_needs_taps(tmp_path: Path, stage: Fields) -> None:
    recipe = FfaRecipe(**stage(ansm="thin", ffa=Ffa(fit=QUICK)))
    with pytest.raises(ConfigError, match=r"Localizer has no known taps; name the stages"):
        ffa.run(recipe, tmp_path)


@pytest.mark.filterwarnings(RENAMED)
def test_a_second_run_attacks_nothing_anew(tmp_path: Path, stage: Fields) -> None:
    ffa.run(ffa_recipe(stage), tmp_path)
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "attacked").iterdir()}
    ffa.run(ffa_recipe(stage, saturation_penalty=0.2), tmp_path)
    assert times == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "attacked").iterdir()}
    assert len(times) == 2


def test_a_finished_run_is_kept_and_says_so(tmp_path: Path, stage: Fields) -> None:
    path = ffa.run(ffa_recipe(stage), tmp_path)
    written = path.stat().st_mtime_ns
    with pytest.warns(UserWarning, match="exactly these choices, so nothing was trained"):
        assert ffa.run(ffa_recipe(stage), tmp_path) == path
    assert path.stat().st_mtime_ns == written
    with pytest.warns(UserWarning, match="held the weights of an earlier run: ffa-before-1"):
        ffa.run(ffa_recipe(stage, saturation_penalty=0.2), tmp_path)
    assert path.stat().st_mtime_ns != written


def test_a_stop_in_the_attack_costs_one_shard(tmp_path: Path, stage: Fields) -> None:
    whole = ffa.run(ffa_recipe(stage), tmp_path / "whole")

    def stop(name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        if list((tmp_path / "broken" / "attacked").glob("*.safetensors")):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ffa.run(ffa_recipe(stage), tmp_path / "broken", stop)
    assert files(tmp_path / "broken" / "attacked") == {"attacked-00000.safetensors"}
    assert same(ffa.run(ffa_recipe(stage), tmp_path / "broken"), whole)


def test_an_interrupted_last_step_keeps_its_numbers(tmp_path: Path, stage: Fields) -> None:
    with pytest.raises(TrainingInterrupted):
        ffa.run(ffa_recipe(stage), tmp_path, Watcher("ffa", 3))
    path = ffa.run(ffa_recipe(stage), tmp_path)
    assert json.loads(read_metadata(path)["metrics"])["loss"] > 0
