"""Numbers of steps stay on the device: read together, a few steps later, never lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from ansm_plugin.errors import TrainingError
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training import loop
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import fit
from ansm_plugin.training.randomness import seeded
from ansm_plugin.training.readings import MOST_LATE, Note, Readings, reads_every
from ansm_plugin.training.step import Logs, Step, StepOutput, Turn

CONFIG = FitConfig(
    steps=12, learning_rate=0.2, warmup=2, averaging=0.5, precision="fp32", checkpoint_every=100
)
LATE = 5  # steps between two reads of these tests


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fit` read every few steps, as it does on a device that computes by itself."""
    monkeypatch.setattr(loop, "reads_every", lambda device: LATE)


def line() -> nn.Linear:
    with seeded(3):
        return nn.Linear(1, 1)


def fitting(module: nn.Module, bad: dict[int, float] | None = None, **output: Any) -> Step:
    """Return a step towards y = 3 x + 1 whose loss is multiplied by `bad` of its number."""

    def step(turn: Turn) -> StepOutput:
        x = torch.randn(16, 1, generator=turn.generator)
        loss = (module(x) - 3 * x - 1).square().mean() * (bad or {}).get(turn.index, 1)
        return StepOutput(loss, {"share": torch.tensor(turn.index / 12)}, **output)

    return step


def run(
    folder: Path, module: nn.Module, step: Step, progress: Progress = silent, **changes: Any
) -> dict[str, Tensor]:
    config = replace(CONFIG, **changes)
    fit("line", module, step, config, folder=folder, identity={}, progress=progress)
    return {name: value.clone() for name, value in module.state_dict().items()}


def steps_of_checkpoint(folder: Path) -> int:
    with safe_open(folder / "line.checkpoint.safetensors", "pt") as file:
        return int(file.metadata()["done"])


def test_what_was_kept_is_read_in_its_order_and_once() -> None:
    readings, required = Readings(20, 40), list[Logs]()
    readings.add(Note(3, {"loss": torch.tensor(0.5), "points": 16}, required.append))
    readings.add(Note(3, {"gradient": torch.tensor(2.0, dtype=torch.float64)}))
    first, second = readings.read()
    assert (first.index, first.numbers) == (3, {"loss": 0.5, "points": 16})
    assert second.numbers == {"gradient": 2.0}
    first.require(first.numbers)
    assert required == [first.numbers]
    assert readings.read() == []


def test_numbers_are_due_at_the_first_step_at_every_nth_and_at_the_last() -> None:
    readings = Readings(20, 45)
    assert [i for i in range(45) if readings.are_due(i)] == [0, 20, 40, 44]
    assert all(Readings(1, 45).are_due(i) for i in range(45))


def test_the_cpu_reads_at_once_and_other_devices_within_twenty_steps() -> None:
    assert reads_every(torch.device("cpu")) == 1
    assert reads_every(torch.device("cuda")) == MOST_LATE <= 20


def test_reading_late_changes_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: None
) -> None:
    module, seen = line(), list[tuple[int, Logs]]()
    found = run(
        tmp_path, module, fitting(module), lambda n, k, s, logs: seen.append((k, dict(logs)))
    )
    assert [done for done, _ in seen] == list(range(1, 13))
    shares = [round(12 * logs["share"]) for _, logs in seen]
    assert shares == [0, 0, 0, 0, 0, 5, 5, 5, 5, 5, 10, 11]  # of the step that was read last
    assert all(list(logs) == ["loss", "gradient", "share"] for _, logs in seen)
    monkeypatch.setattr(loop, "reads_every", lambda device: 1)
    module = line()
    expected = run(tmp_path / "at once", module, fitting(module))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_no_step_between_two_reads_asks_the_device(tmp_path: Path, late: None) -> None:
    """Counted are conversions of what `fit` computes; AdamW keeps its own counters on the CPU."""
    module, asked = line(), list[int]()

    class Loss(Tensor):
        def __float__(self) -> float:
            asked.append(1)
            return float(self.as_subclass(Tensor))

        item = __float__

    inner, reads = fitting(module), list[int]()

    def step(turn: Turn) -> StepOutput:
        output = inner(turn)
        return output._replace(loss=output.loss.as_subclass(Loss))

    def counted(self: Readings) -> list[Any]:
        reads.append(1)
        return original(self)

    original = Readings.read
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Readings, "read", counted)
        run(tmp_path, module, step)
    assert asked == []
    # At steps 1, 6, 11 and 12 before and behind the gradient, and once before the last checkpoint.
    assert len(reads) == 2 * 4 + 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_gone_wrong_ends_the_training_late_but_before_the_next_checkpoint(
    tmp_path: Path, late: None, bad: float
) -> None:
    module, done = line(), list[int]()
    step = fitting(module, {8: bad})
    said = rf"the loss of step 9 is {bad}; last good checkpoint: .*line\.check"
    with pytest.raises(TrainingError, match=said):
        run(tmp_path, module, step, lambda n, k, s, logs: done.append(k), checkpoint_every=4)
    assert done[-1] == 10  # read with step 11
    assert steps_of_checkpoint(tmp_path) == 8
    module = line()
    with pytest.raises(TrainingError, match="step 7"):  # read before step 8 is saved
        run(tmp_path / "other", module, fitting(module, {6: bad}), checkpoint_every=4)
    assert steps_of_checkpoint(tmp_path / "other") == 4


def test_a_gradient_gone_wrong_is_never_saved(tmp_path: Path, late: None) -> None:
    module = line()

    def step(turn: Turn) -> StepOutput:
        good = fitting(module)(turn).loss
        # At 0 the value is finite, the slope is not.
        extra = (0 * module.weight).abs().sqrt().sum() if turn.index == 3 else 0
        return StepOutput(good + extra, {})

    with pytest.raises(TrainingError, match="the gradient of step 4 is nan"):
        run(tmp_path, module, step, checkpoint_every=2)
    assert steps_of_checkpoint(tmp_path) == 2


def test_what_a_step_requires_is_asked_at_the_latest_at_the_next_read(
    tmp_path: Path, late: None
) -> None:
    def require(logs: Logs) -> None:
        if logs["share"] > 0.5:  # from step 8 on
            raise TrainingError("too large a share")

    module, done = line(), list[int]()
    with pytest.raises(TrainingError, match="too large a share"):
        run(
            tmp_path, module, fitting(module, require=require),
            lambda n, k, s, logs: done.append(k), checkpoint_every=9,
        )  # fmt: skip
    assert done[-1] == 8
    assert not list(tmp_path.iterdir())
