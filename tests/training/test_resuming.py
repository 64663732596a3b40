"""Interruptions of `fit` cost nothing: a resumed run equals the uninterrupted one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support.line_fits import QUICK, checkpoint, interrupted_after, line, run, toward
from torch import nn

from ansm_plugin.errors import TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.training.loop import Share, Step, StepOutput, Turn, discard_checkpoint
from ansm_plugin.training.randomness import seeded


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_resumed_run_equals_the_uninterrupted_one(
    tmp_path: Path, kind: signal.Signals, averaging: float
) -> None:
    config = replace(QUICK, averaging=averaging, checkpoint_every=7)
    expected = run(tmp_path / "whole", line(), config=config)
    module = line()
    with pytest.raises(TrainingInterrupted, match=r"after step 17 of 40.*Run the same command"):
        run(tmp_path, module, toward(3, module, interrupted_after(17, kind)), config)
    steps: list[int] = []
    resumed = run(tmp_path, line(), config=config, progress=lambda n, k, s, logs: steps.append(k))
    assert steps == list(range(18, 41))
    assert all(torch.equal(expected[k], resumed[k]) for k in expected)


def test_buffers_and_channels_last_resume_exactly(tmp_path: Path) -> None:
    def build() -> nn.Module:
        with seeded(0):
            layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 3))
        return layers.to(memory_format=torch.channels_last)

    def step_of(module: nn.Module, before: Callable[[], None] = lambda: None) -> Step:
        def step(turn: Turn) -> StepOutput:
            before()
            images = torch.rand(4, 3, 8, 8, generator=turn.generator)
            return StepOutput((module(images) - 1).square().mean(), {})

        return step

    config = replace(QUICK, steps=12, averaging=0.9, precision="bf16")
    whole = build()
    expected = run(tmp_path / "whole", whole, step_of(whole), config)
    module = build()
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, module, step_of(module, interrupted_after(5, signal.SIGINT)), config)
    module = build()
    resumed = run(tmp_path, module, step_of(module), config)
    assert expected["1.num_batches_tracked"] == 12
    assert all(torch.equal(expected[k], resumed[k]) for k in expected)


@pytest.mark.parametrize("seed", [0, 3, -3])
def test_a_turn_says_which_step_it_is_also_after_a_resume(tmp_path: Path, seed: int) -> None:
    module, turns = line(), list[Turn]()
    config = replace(QUICK, steps=6, seed=seed)

    def noting(before: Callable[[], None]) -> Step:
        step = toward(3, module, before)

        def noted(turn: Turn) -> StepOutput:
            turns.append(turn)
            return step(turn)

        return noted

    with pytest.raises(TrainingInterrupted):
        run(tmp_path, module, noting(interrupted_after(3, signal.SIGTERM)), config)
    run(tmp_path, module, noting(lambda: None), config)
    assert [turn.index for turn in turns] == list(range(6))
    assert {turn.share for turn in turns} == {Share(0, 1)}
    assert len({turn.generator.initial_seed() for turn in turns}) == 6


def test_checkpoints_come_at_the_interval_and_stay_until_discarded(tmp_path: Path) -> None:
    there: list[bool] = []
    config = replace(QUICK, steps=5, checkpoint_every=3)
    run(
        tmp_path, line(), config=config,
        progress=lambda n, k, s, logs: there.append(checkpoint(tmp_path).exists()),
    )  # fmt: skip
    assert there == [False, False, True, True, True]
    assert checkpoint(tmp_path).exists()
    discard_checkpoint(tmp_path, "line")
    discard_checkpoint(tmp_path, "line")
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_repeated(tmp_path: Path) -> None:
    expected = run(tmp_path, line(), config=replace(QUICK, averaging=0.9))
    module = line()

    def never(turn: Turn) -> StepOutput:
        raise AssertionError("no step is left")

    again = run(tmp_path, module, never, replace(QUICK, averaging=0.9))
    assert all(torch.equal(expected[k], again[k]) for k in expected)


@pytest.mark.parametrize("change", ["identity", "config"])
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, change: str) -> None:
    run(tmp_path, line(), identity={"data": "a"})
    other = {"data": "b"} if change == "identity" else {"data": "a"}
    config = QUICK if change == "identity" else replace(QUICK, learning_rate=0.1)
    with pytest.raises(TrainingError, match="belongs to another run"):
        run(tmp_path, line(), config=config, identity=other)


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path, line())
    path = checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match="truncated"):
        run(tmp_path, line())


SCRIPT = """
    import os, signal, sys, torch
    from pathlib import Path
    from torch import nn
    from ansm_plugin.training import FitConfig, StepOutput, fit, seeded

    with seeded(3):
        module = nn.Linear(1, 1)

    def step(turn):
        x = turn.share.of(torch.randn(16, 1, generator=turn.generator))
        return StepOutput((module(x) - 3 * x - 1).square().mean(), {})

    def progress(name, done, steps, logs):
        if done == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

    config = FitConfig(steps=40, learning_rate=0.2, warmup=2, averaging=0.9,
                       precision="fp32", checkpoint_every=7)
    fit("line", module, step, config, folder=Path(sys.argv[1]), identity={}, progress=progress)
"""


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    killed = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "killed"), "17"],
        capture_output=True, text=True, check=False, timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    config = replace(QUICK, averaging=0.9, checkpoint_every=7)
    steps: list[int] = []
    resumed = run(
        tmp_path / "killed", line(), config=config, progress=lambda n, k, s, logs: steps.append(k)
    )
    assert steps == list(range(15, 41))
    expected = run(tmp_path / "whole", line(), config=config)
    assert all(torch.equal(expected[k], resumed[k]) for k in expected)


def test_dropout_resumes_exactly_and_leaves_the_callers_random_state(tmp_path: Path) -> None:
    def noisy(before: Callable[[], None] = lambda: None) -> tuple[nn.Module, Step]:
        module, dropout = line(), nn.Dropout(0.5)

        def step(turn: Turn) -> StepOutput:
            before()
            x = torch.randn(16, 1, generator=turn.generator)
            return StepOutput((dropout(module(x)) - 3 * x).square().mean(), {})

        return module, step

    state = torch.get_rng_state()
    expected = run(tmp_path / "whole", *noisy())
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.raises(TrainingInterrupted):
        run(tmp_path, *noisy(interrupted_after(9, signal.SIGINT)))
    resumed = run(tmp_path, *noisy())
    assert all(torch.equal(expected[k], resumed[k]) for k in expected)


def test_a_run_stopped_in_its_last_step_still_reports_its_numbers(tmp_path: Path) -> None:
    module, seen = line(), []
    with pytest.raises(TrainingInterrupted, match="after step 40 of 40"):
        run(tmp_path, module, toward(3, module, interrupted_after(40, signal.SIGINT)))
    run(tmp_path, line(), progress=lambda name, k, s, logs: seen.append((k, sorted(logs))))
    assert seen == [(40, ["gradient", "loss", "points"])]
