"""Stage 3 on a few steps: what it writes, what it tunes, when it stops."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.short_runs import THIN, Fields, files, same
from support.users_localizer import LOCALIZER
from torch import nn

from ansm_plugin import apply_adapter
from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import ConfigError, TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import hardened
from ansm_plugin.recipes.hardened import Hardened, HardenedRecipe, draw_search
from ansm_plugin.recipes.overfitting import Checks, Watch, hold_out
from ansm_plugin.recipes.stage import Pairs
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Turn
from ansm_plugin.weights.adapters import is_adapter
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm
from ansm_plugin.weights.tensors import read_metadata, sha256_of

pytestmark = pytest.mark.usefixtures("_thin_preset")

QUICK = FitConfig(
    steps=4, batch_size=6, warmup=0, averaging=0.5, precision="fp32", checkpoint_every=100
)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Return the file of an ANSM that does something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ansm = ANSM("thin")
        nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    return save_ansm(ansm, tmp_path / "mgr.safetensors")


def choices(**changes: Any) -> Hardened:
    checks = Checks(steps=2, images=2, every=2, limit=1.0)
    return Hardened(**{"attack_steps": 2, "checks": checks, "fit": QUICK, **changes})


def recipe(stage: Fields, **changes: Any) -> HardenedRecipe:
    return HardenedRecipe(**stage(**{"hardened": choices(), **changes}))


class Stop:
    """Progress with a signal after some step, which remembers what was logged."""

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.logs: dict[int, dict[str, float]] = {}

    def __call__(self, name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        """Note one call."""
        if name == "hardened":
            self.logs[step] = logs
            if step == self.step:
                os.kill(os.getpid(), signal.SIGTERM)


# --- the module alone -----------------------------------------------------------------------------


def test_stage_3_writes_an_ansm_with_its_provenance(
    tmp_path: Path, stage: Fields, start: Path
) -> None:
    watcher = Stop()
    path = hardened.run(recipe(stage, start=start), tmp_path / "run", watcher)
    assert files(tmp_path / "run") == {"attacked", "hardened.safetensors", "hardened.toml"}
    metadata = read_metadata(path)
    assert metadata["stage"] == "hardened"
    assert json.loads(metadata["parent"]) == sha256_of(start)
    assert json.loads(metadata["localizer"])["sha256"] == fingerprint(build_localizer(LOCALIZER))
    assert {"f1_attacked", "f1_check", "loss"} <= json.loads(metadata["metrics"]).keys()
    assert load_ansm(path).architecture == THIN
    assert not same(path, start)
    assert sorted(watcher.logs) == [1, 2, 3, 4]


def test_stage_3_may_begin_with_a_fresh_module_of_any_bound(tmp_path: Path, stage: Fields) -> None:
    path = hardened.run(recipe(stage, ansm="thin?bound_255=24"), tmp_path / "run")
    assert load_ansm(path).architecture == replace(THIN, bound_255=24)


@pytest.mark.parametrize("tune", ["none", "lora"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    tmp_path: Path, stage: Fields, start: Path, tune: Any
) -> None:
    whole = hardened.run(recipe(stage, start=start, tune=tune), tmp_path / "whole")
    with pytest.raises(TrainingInterrupted, match="hardened was interrupted after step 3 of 4"):
        hardened.run(recipe(stage, start=start, tune=tune), tmp_path / "broken", Stop(2))
    resumed = hardened.run(recipe(stage, start=start, tune=tune), tmp_path / "broken")
    assert files(tmp_path / "broken") == files(tmp_path / "whole")
    assert same(resumed, whole)
    if tune == "lora":
        assert same(*(p.with_name("adapter.safetensors") for p in (resumed, whole)))


def test_the_checkpoint_of_another_run_is_refused_before_anything_is_written(
    tmp_path: Path, stage: Fields, start: Path
) -> None:
    with pytest.raises(TrainingInterrupted):
        hardened.run(recipe(stage, start=start), tmp_path / "run", Stop(2))
    config = (tmp_path / "run" / "hardened.toml").read_bytes()
    with pytest.raises(TrainingError, match="belongs to another run"):
        hardened.run(recipe(stage, start=start, rank=2), tmp_path / "run")
    assert (tmp_path / "run" / "hardened.toml").read_bytes() == config


def test_a_defence_that_overfits_to_weak_attacks_stops(
    tmp_path: Path, stage: Fields, start: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    f1 = iter([0.5, 0.4, 0.9, 0.1])  # of the training's attack and a longer one, in turn
    monkeypatch.setattr(Watch, "f1", lambda self, attack: next(f1))
    strict = recipe(stage, start=start, hardened=choices(checks=Checks(steps=2, images=2, every=2)))
    with pytest.raises(
        TrainingError, match=r"after 2 steps .* F1 0\.90, .* 2 steps 0\.10, .*overfits"
    ):
        hardened.run(strict, tmp_path / "run")
    assert "hardened.safetensors" not in files(tmp_path / "run")


def test_radii_grow_and_starts_stay_in_the_ball() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (8, 3, 8, 8), generator=generator, dtype=torch.uint8)
    pairs = Pairs(images, torch.ones(8, 1, 8, 8, dtype=torch.uint8), images.flip(3))
    fit = FitConfig(steps=100, batch_size=3 * 64)
    chosen = Hardened(eps_255=(4.0,), ramp=0.5, warm_start=0.5, fit=fit)
    for index, expected in ((0, 0.0), (25, 2.0), (50, 4.0), (90, 4.0)):
        turn = Turn(index, torch.Generator().manual_seed(1))
        originals, _, attacked, start, radii = draw_search(chosen, pairs, turn).tensors
        assert torch.allclose(radii * 255, torch.full((64,), expected))
        is_warm = (start == attacked).flatten(1).all(1)
        assert 16 < int(is_warm.sum()) < 48
        distance = (start - originals)[~is_warm].abs().max()
        assert float(distance) <= expected / 255 + 1e-6


def test_crops_that_are_checked_are_left_out_of_training() -> None:
    rows = torch.arange(5, dtype=torch.uint8)
    pairs, held = hold_out(Pairs(rows, rows, rows), 2)
    assert (pairs.masks.tolist(), held.masks.tolist()) == ([0, 1, 2], [3, 4])
    with pytest.raises(ConfigError, match="5 crops are too few to check 5"):
        hold_out(Pairs(rows, rows, rows), 5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, r"give start, the mgr\.safetensors"),
        ({"ansm": "thin", "start": Path("a.safetensors")}, "not both"),
        ({"alone": True}, r"give tune \(norm, lora or all\)"),
        ({"alone": True, "tune": "all", "ansm": "thin"}, "leave out start and ansm"),
        ({"ansm": "thin", "tune": "all", "also": (LOCALIZER,)}, "names 1 more"),
    ],
)
def test_choices_that_contradict_each_other_are_named(
    tmp_path: Path, stage: Fields, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        hardened.run(recipe(stage, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"attacks": ("pdg",)},
        {"attacks": ()},
        {"eps_255": (0.0,)},
        {"ramp": 2.0},
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Hardened(**changes)


@pytest.mark.parametrize("changes", [{"every": 0}, {"steps": 0}, {"images": 0}, {"limit": 1.5}])
def test_checks_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(changes))):
        Checks(**changes)


# --- with the localizer ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tune", "changed"),
    [
        ("norm", {"stem.1.weight", "stem.1.bias"}),
        ("lora", {"stem.0.weight", "head.weight"}),
        ("all", {f"{m}.{p}" for m in ("stem.0", "stem.1", "head") for p in ("weight", "bias")}),
    ],
)
def test_tuning_writes_an_adapter_with_what_it_changed(
    tmp_path: Path, stage: Fields, start: Path, tune: Any, changed: set[str]
) -> None:
    path = hardened.run(recipe(stage, start=start, tune=tune), tmp_path / "run")
    adapter = path.with_name("adapter.safetensors")
    assert load_file(adapter).keys() == changed
    bare = build_localizer(LOCALIZER)
    before = fingerprint(bare)
    tuned = apply_adapter(bare, adapter)
    assert fingerprint(bare) == before
    assert fingerprint(tuned) == json.loads(read_metadata(path)["localizer"])["sha256"] != before
    wrap_with_ansm(tuned, str(path))  # warns when trained for another localizer
    named = build_localizer(f"{LOCALIZER}@{adapter}")
    assert fingerprint(named) == fingerprint(tuned)
    with pytest.warns(UserWarning, match="was trained for Localizer"):
        wrap_with_ansm(bare, str(path))


def test_the_localizer_may_be_tuned_alone(tmp_path: Path, stage: Fields) -> None:
    path = hardened.run(recipe(stage, tune="norm", alone=True), tmp_path / "run")
    assert files(tmp_path / "run") == {"attacked", "adapter.safetensors", "hardened.toml"}
    assert is_adapter(path)
    assert not apply_adapter(build_localizer(LOCALIZER), path).training


def test_what_was_tuned_may_be_tuned_again(tmp_path: Path, stage: Fields, start: Path) -> None:
    once = hardened.run(recipe(stage, start=start, tune="norm"), tmp_path / "once")
    first = once.with_name("adapter.safetensors")
    again = recipe(stage, localizer=f"{LOCALIZER}@{first}", start=once, tune="all")
    path = hardened.run(again, tmp_path / "again")
    second = path.with_name("adapter.safetensors")
    named = build_localizer(f"{LOCALIZER}@{first}@{second}")
    assert fingerprint(named) == json.loads(read_metadata(path)["localizer"])["sha256"]
    with pytest.raises(WeightsError, match="belongs to a localizer with state"):
        build_localizer(f"{LOCALIZER}@{second}")
