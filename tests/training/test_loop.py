"""`fit`: the loss falls, interruptions cost nothing, and a broken run says so."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.launched import two_processes
from support.partly_used import PartlyUsed, fitting
from torch import Tensor, nn

from ansm_plugin.errors import ConfigError, TrainingError, TrainingInterrupted, WeightsError
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Share, Step, StepOutput, Turn, discard_checkpoint, fit
from ansm_plugin.training.randomness import seeded

QUICK = FitConfig(
    steps=40, learning_rate=0.2, warmup=2, averaging=0.0, precision="fp32", checkpoint_every=100
)


def line() -> nn.Linear:
    """Return a module of two parameters, always the same."""
    with seeded(3):
        return nn.Linear(1, 1)


def toward(slope: float, module: nn.Module, before: Callable[[], None] = lambda: None) -> Step:
    """Return a step that fits y = slope * x + 1 on fresh points."""

    def step(turn: Turn) -> StepOutput:
        before()
        x = turn.share.of(torch.randn(16, 1, generator=turn.generator))
        return StepOutput((module(x) - slope * x - 1).square().mean(), {"points": len(x)})

    return step


def run(
    folder: Path,
    module: nn.Module,
    step: Step | None = None,
    config: FitConfig = QUICK,
    identity: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Fit and return the resulting state."""
    fit(
        "line", module, step or toward(3, module), config,
        folder=folder, identity=identity or {}, progress=progress,
    )  # fmt: skip
    return {k: v.clone() for k, v in module.state_dict().items()}


def interrupted_after(count: int, kind: signal.Signals) -> Callable[[], None]:
    """Return a function whose call number `count` sends a signal to this process."""
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), kind)

    return call


def checkpoint(folder: Path) -> Path:
    return folder / "line.checkpoint.safetensors"


def test_the_loss_falls_and_the_answer_is_found(tmp_path: Path) -> None:
    losses: list[float] = []
    state = run(tmp_path, line(), progress=lambda n, k, s, logs: losses.append(logs["loss"]))
    assert len(losses) == 40
    assert losses[-1] < 0.05 * losses[0]
    assert float(state["weight"]) == pytest.approx(3, abs=0.3)


def test_reports_count_up_and_carry_the_logs(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []

    def progress(name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        assert logs.keys() == {"loss", "gradient", "points"}
        seen.append((name, step, steps))

    run(tmp_path, line(), config=replace(QUICK, steps=3), progress=progress)
    assert seen == [("line", 1, 3), ("line", 2, 3), ("line", 3, 3)]


def test_the_same_seed_gives_the_same_result_and_another_does_not(tmp_path: Path) -> None:
    results = [
        float(run(tmp_path / str(i), line(), config=replace(QUICK, seed=seed))["weight"])
        for i, seed in enumerate([0, 0, 1])
    ]
    assert results[0] == results[1] != results[2]


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


def test_signals_are_handed_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(tmp_path, line(), config=replace(QUICK, steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


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


def test_averaging_follows_the_weights_with_a_short_horizon_at_first(tmp_path: Path) -> None:
    module, seen = line(), []
    step = toward(3, module, lambda: seen.append(module.weight.item()))
    state = run(tmp_path, module, step, replace(QUICK, steps=3, averaging=0.5))
    last = float(load_file(checkpoint(tmp_path))["module.weight"])
    expected = seen[0]
    for index, value in enumerate([seen[1], seen[2], last]):
        decay = min(0.5, (index + 1) / (index + 10))
        expected = decay * expected + (1 - decay) * value
    assert float(state["weight"]) == pytest.approx(expected)


def test_the_mode_of_the_module_is_given_back(tmp_path: Path) -> None:
    module, modes = line().eval(), []
    step = toward(3, module, lambda: modes.append(module.training))
    run(tmp_path, module, step, replace(QUICK, steps=1))
    assert modes == [True]
    assert not module.training


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_step_recipe_and_checkpoint(
    tmp_path: Path, bad: float
) -> None:
    module, calls = line(), []

    def step(turn: Turn) -> StepOutput:
        calls.append(1)
        good = toward(3, module)(turn).loss
        return StepOutput(good * (bad if len(calls) == 6 else 1), {})

    config = replace(QUICK, checkpoint_every=4)
    with pytest.raises(TrainingError, match=rf"line: the loss of step 6 is {bad}.*line\.check"):
        run(tmp_path, module, step, config)
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_a_gradient_that_is_not_finite_does_not_reach_the_weights(tmp_path: Path) -> None:
    module = line()

    def step(turn: Turn) -> StepOutput:
        # The value at 0 is finite, the slope is not.
        return StepOutput((0 * module.weight).abs().sqrt().sum(), {})

    with pytest.raises(TrainingError, match=r"gradient of step 1 is nan; last good .* none yet"):
        run(tmp_path, module, step, replace(QUICK, checkpoint_every=1))
    assert torch.isfinite(module.weight).all()
    assert not checkpoint(tmp_path).exists()


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


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"clip_norm": -1.0},
        {"checkpoint_every": 0}, {"averaging": 1.0},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FitConfig(**wrong)


def test_seeded_decides_inside_and_changes_nothing_outside() -> None:
    before = torch.get_rng_state()
    with seeded(1):
        first = torch.rand(3)
    with seeded(1):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_shares_make_up_a_batch() -> None:
    batch = torch.arange(10)
    parts = [Share(rank, 3).of(batch) for rank in range(3)]
    assert torch.equal(torch.cat(parts), batch)


def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    """Also of parameters that no process uses, or one alone."""
    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, sys
            from pathlib import Path
            from ansm_plugin.training.config import FitConfig
            from ansm_plugin.training.loop import fit
            from support.partly_used import PartlyUsed, fitting

            module = PartlyUsed()
            config = FitConfig(steps=40, learning_rate=0.2, warmup=2, averaging=0.0,
                               precision="fp32", checkpoint_every=100)
            fit("line", module, fitting(module), config, folder=Path(sys.argv[1]), identity={})
            print("trained by", os.environ["RANK"], flush=True)
            os._exit(0)  # gloo's threads abort a process, rarely, while the interpreter ends
            """
        )
    )
    done = two_processes(script, str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("trained by") == 2
    module = PartlyUsed()
    expected = run(tmp_path / "one", module, fitting(module))
    assert torch.equal(expected["spare"], torch.ones(2, 3))  # not even decayed
    assert expected["first"].abs() > 0.5
    found = load_file(checkpoint(tmp_path / "two"))
    assert {k for k in found if "spare" in k} == {"module.spare", "average.spare"}
    for name, value in expected.items():
        torch.testing.assert_close(found[f"module.{name}"], value)


def test_a_loss_without_a_gradient_is_refused_in_words(tmp_path: Path) -> None:
    def step(turn: Turn) -> StepOutput:
        return StepOutput(torch.ones(()), {})

    with pytest.raises(TrainingError, match=r"line: no gradient .* no_grad"):
        run(tmp_path, line(), step)


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
