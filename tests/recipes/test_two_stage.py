"""Stage 2, and both stages in one run: what is written, what is left alone, how it goes on."""

from __future__ import annotations

import contextlib
import copy
import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.short_runs import (
    QUICK,
    RENAMED,
    THIN,
    Fields,
    Watcher,
    ffa_recipe,
    files,
    same,
    two_stages,
)
from support.users_localizer import LOCALIZER
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.errors import ConfigError, TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.recipes import ffa, mgr, two_stage
from ansm_plugin.recipes.ffa import Ffa
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe
from ansm_plugin.recipes.run import AnsmRun, Start
from ansm_plugin.training.loop import discard_checkpoint
from ansm_plugin.weights.ansm_file import load_ansm
from ansm_plugin.weights.tensors import read_metadata, sha256_of, write_tensors

pytestmark = pytest.mark.usefixtures("_thin_preset")

# --- stage 2 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["ground_truth", "localizer", "mixed", "independent"])
@pytest.mark.parametrize("channel", [0.0, 1.0])
def test_stage_2_goes_on_from_stage_1(
    tmp_path: Path, stage: Fields, target: Any, channel: float
) -> None:
    start = ffa.run(ffa_recipe(stage), tmp_path / "ffa")
    recipe = MgrRecipe(**stage(start=start, mgr=Mgr(target=target, channel=channel, fit=QUICK)))
    path = mgr.run(recipe, tmp_path / "mgr")
    metadata = read_metadata(path)
    assert metadata["stage"] == "mgr"
    assert json.loads(metadata["parent"]) == sha256_of(start)
    assert load_ansm(path).architecture == THIN
    assert not same(path, start)


def test_stage_2_lowers_its_loss(tmp_path: Path, user_code: Path, stage: Fields) -> None:
    """Against ground truth on a random localizer, any change in the right direction helps."""
    fit = replace(QUICK, steps=200, batch_size=12, learning_rate=0.02)
    watcher = Watcher()
    chosen = Mgr(target="ground_truth", original_price=0.0, alignment=0.0, fit=fit)
    two_stage.run(two_stages(stage, mgr=chosen), tmp_path, watcher)
    losses = watcher.losses[QUICK.steps :]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_stage_2_without_stage_1_says_where_to_get_it(tmp_path: Path, stage: Fields) -> None:
    with pytest.raises(ConfigError, match=r"give start, the ffa\.safetensors of `ansm train ffa`"):
        mgr.run(MgrRecipe(**stage()), tmp_path / "run")
    with pytest.raises(WeightsError, match=r"no weights file .*nothing"):
        mgr.run(MgrRecipe(**stage(start=tmp_path / "nothing.safetensors")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


# --- both -----------------------------------------------------------------------------------------


def test_two_stage_writes_both_and_their_config(tmp_path: Path, stage: Fields) -> None:
    path = two_stage.run(two_stages(stage), tmp_path / "run")
    assert files(tmp_path / "run") == {
        "attacked", "ffa.safetensors", "mgr.safetensors", "two_stage.toml"
    }  # fmt: skip
    assert path.name == "mgr.safetensors"
    assert json.loads(read_metadata(path)["parent"]) == sha256_of(path.with_name("ffa.safetensors"))
    assert tomllib.loads((tmp_path / "run" / "two_stage.toml").read_text())["ansm"] == "thin"


def test_two_stage_equals_its_stages_one_by_one(tmp_path: Path, stage: Fields) -> None:
    both = two_stage.run(two_stages(stage), tmp_path / "both")
    first = ffa.run(ffa_recipe(stage), tmp_path / "ffa")
    second = mgr.run(MgrRecipe(**stage(start=first, mgr=Mgr(fit=QUICK))), tmp_path / "mgr")
    assert same(both.with_name("ffa.safetensors"), first)
    assert same(both, second)


@pytest.mark.filterwarnings(RENAMED)
def test_other_choices_of_stage_2_do_not_repeat_stage_1(tmp_path: Path, stage: Fields) -> None:
    first, second, third = Watcher(), Watcher(), Watcher()
    two_stage.run(two_stages(stage), tmp_path, first)
    two_stage.run(two_stages(stage, mgr=Mgr(original_weight=2.0, fit=QUICK)), tmp_path, second)
    other = Ffa(taps=("stem",), scale=5e3, fit=QUICK)
    two_stage.run(two_stages(stage, ffa=other), tmp_path, third)
    assert [len(w.steps_of("ffa")) for w in (first, second, third)] == [4, 0, 4]
    assert [len(w.steps_of("mgr")) for w in (first, second, third)] == [4, 4, 4]


@pytest.mark.filterwarnings(RENAMED)
def test_another_localizer_repeats_stage_1(tmp_path: Path, stage: Fields) -> None:
    trained = tmp_path / "other.safetensors"
    two_stage.run(two_stages(stage), tmp_path / "run")
    victim = build_localizer(LOCALIZER)
    nn.init.ones_(victim.get_parameter("head.bias"))
    write_tensors(victim.state_dict(), trained, {})
    again = Watcher()
    two_stage.run(two_stages(stage, localizer=f"{LOCALIZER}@{trained}"), tmp_path / "run", again)
    assert again.steps_of("ffa") == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["ffa", "mgr"])
def test_an_interrupted_two_stage_ends_like_an_uninterrupted_one(
    tmp_path: Path, stage: Fields, name: str
) -> None:
    whole = two_stage.run(two_stages(stage), tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match=f"{name} was interrupted after step 3 of 4"):
        two_stage.run(two_stages(stage), tmp_path / "broken", Watcher(name, 2))
    rest = Watcher()
    resumed = two_stage.run(two_stages(stage), tmp_path / "broken", rest)
    assert rest.steps_of("ffa") == ([4] if name == "ffa" else [])
    assert rest.steps_of("mgr") == ([1, 2, 3, 4] if name == "ffa" else [4])
    assert same(resumed, whole)
    assert same(resumed.with_name("ffa.safetensors"), whole.with_name("ffa.safetensors"))
    assert files(tmp_path / "broken") == files(tmp_path / "whole")


@pytest.mark.parametrize("training", ["ffa", "mgr"])
def test_a_checkpoint_that_outlived_its_weights_goes(
    tmp_path: Path, stage: Fields, monkeypatch: pytest.MonkeyPatch, training: str
) -> None:
    """A kill between the weights and the removal of their checkpoint leaves both."""

    def killed(folder: Path, name: str) -> None:
        if name == training:
            raise KeyboardInterrupt
        discard_checkpoint(folder, name)

    with monkeypatch.context() as patch:
        patch.setattr("ansm_plugin.recipes.run.discard_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            two_stage.run(two_stages(stage), tmp_path)
    assert {f"{training}.safetensors", f"{training}.checkpoint.safetensors"} <= files(tmp_path)
    said = pytest.warns(UserWarning, match="nothing was trained")
    with said if training == "mgr" else contextlib.nullcontext():
        two_stage.run(two_stages(stage), tmp_path)
    assert not list(tmp_path.glob("*.checkpoint.safetensors"))


def test_a_saturated_run_stops(tmp_path: Path, stage: Fields) -> None:
    fit = replace(QUICK, steps=20, learning_rate=50.0)
    recipe = two_stages(stage, ffa=Ffa(taps=("stem",), fit=fit), saturation_limit=0.2)
    with pytest.raises(TrainingError, match=r"saturated \(limit 20%\).*Lower learning_rate"):
        two_stage.run(recipe, tmp_path)
    assert "ffa.safetensors" not in files(tmp_path)


@pytest.mark.parametrize("name", ["ffa", "mgr"])
def test_a_stage_leaves_the_localizer_alone(tmp_path: Path, stage: Fields, name: str) -> None:
    recipe = two_stages(stage)
    run = AnsmRun(name, recipe, tmp_path, Start(ANSM("thin")))
    victim = run.setup.defended.localizer
    before = copy.deepcopy(victim.state_dict())
    if name == "ffa":
        run.train(name, lambda setup: ffa.make_step(setup, recipe.ffa), recipe.ffa.fit)
    else:
        run.train(name, lambda setup: mgr.make_step(setup, recipe.mgr), recipe.mgr.fit)
    assert all(torch.equal(before[k], v) for k, v in victim.state_dict().items())
    assert all(p.grad is None for p in victim.parameters())
    assert not any(m.training for m in victim.modules())
    assert not any(m._forward_hooks for m in victim.modules())


def test_the_random_state_of_the_caller_is_left_alone(tmp_path: Path, stage: Fields) -> None:
    before: Tensor = torch.get_rng_state()
    two_stage.run(two_stages(stage), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
