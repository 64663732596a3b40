"""`fit`: the loss falls, the same seed gives the same result, and a broken run says so."""

from __future__ import annotations

import signal
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.launched import two_processes
from support.line_fits import QUICK, checkpoint, line, run, toward
from support.partly_used import PartlyUsed, fitting

from ansm_plugin.errors import ConfigError, TrainingError
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Share, StepOutput, Turn
from ansm_plugin.training.randomness import seeded


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


def test_signals_are_handed_back(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    run(tmp_path, line(), config=replace(QUICK, steps=1))
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


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
