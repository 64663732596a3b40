"""Every recipe on a few steps: what it writes, what it leaves alone, how it goes on."""

from __future__ import annotations

import copy
import json
import os
import signal
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, PRESETS, Architecture
from ansm_plugin.backbones.reference import build_architecture, build_localizer
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import ConfigError, TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import ffa, localizer, mgr, two_stage
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.localizer import LocalizerRecipe
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe
from ansm_plugin.recipes.run import AnsmRun, Start
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.randomness import seeded
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm
from ansm_plugin.weights.tensors import read_metadata, sha256_of, write_tensors

LOCALIZER = "localizer_of_a_user:build"
QUICK = FitConfig(
    steps=4, batch_size=4, warmup=0, averaging=0.5, precision="fp32", checkpoint_every=100
)
THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
Fields = Callable[..., dict[str, Any]]
RENAMED = "ignore:.*held the weights of an earlier run"  # other choices in one folder


@pytest.fixture(autouse=True)
def _thin_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "thin", THIN)


def ffa_recipe(stage: Fields, **changes: Any) -> FfaRecipe:
    return FfaRecipe(**stage(ansm="thin", ffa=Ffa(taps=("stem",), fit=QUICK), **changes))


def two_stages(stage: Fields, **changes: Any) -> TwoStageRecipe:
    fields = {"ffa": Ffa(taps=("stem",), fit=QUICK), "mgr": Mgr(fit=QUICK), **changes}
    return TwoStageRecipe(**stage(ansm="thin", **fields))


class Watcher:
    """Progress that is remembered, with a signal after some step of a training."""

    def __init__(self, stage: str = "", step: int = 0) -> None:
        self.seen: list[tuple[str, int]] = []
        self.losses: list[float] = []
        self.at = (stage, step)

    def __call__(self, name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        """Note one call."""
        self.seen.append((name, step))
        self.losses += [logs["loss"]] if "loss" in logs else []
        if (name, step) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    def steps_of(self, stage: str) -> list[int]:
        """Return the steps of a training that were told."""
        return [step for name, step in self.seen if name == stage]


def same(first: Path, second: Path) -> bool:
    """Return whether two files hold the same tensors, to the last bit."""
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


# --- localizer ------------------------------------------------------------------------------------


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


# --- stage 1 --------------------------------------------------------------------------------------


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


def test_a_saturated_run_stops(tmp_path: Path, stage: Fields) -> None:
    fit = replace(QUICK, steps=20, learning_rate=50.0)
    recipe = two_stages(stage, ffa=Ffa(taps=("stem",), fit=fit), saturation_limit=0.2)
    with pytest.raises(TrainingError, match=r"saturated \(limit 20%\).*Lower learning_rate"):
        two_stage.run(recipe, tmp_path)
    assert "ffa.safetensors" not in files(tmp_path)


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


def test_the_random_state_of_the_caller_is_left_alone(tmp_path: Path, stage: Fields) -> None:
    before: Tensor = torch.get_rng_state()
    two_stage.run(two_stages(stage), tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_user_module_can_be_described(user_code: Path) -> None:
    """The fixture is a fair example: its normalisation is found, without a warning."""
    victim = build_localizer(LOCALIZER)
    assert describe(victim).std == (0.25, 0.25, 0.25)
