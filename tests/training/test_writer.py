"""Checkpoints behind a training: whole files, of their moment, no error lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from ansm_plugin.errors import TrainingInterrupted, WeightsError
from ansm_plugin.training import loop, writer
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import fit
from ansm_plugin.training.randomness import seeded
from ansm_plugin.training.step import Step, StepOutput, Turn
from ansm_plugin.training.writer import Writer

CONFIG = FitConfig(
    steps=40, learning_rate=0.2, warmup=2, averaging=0.9, precision="fp32", checkpoint_every=7
)


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `fit` write behind the training, as it does on a device that computes by itself."""
    monkeypatch.setattr(loop, "Writer", lambda is_behind: Writer(is_behind=True))


def line() -> nn.Linear:
    with seeded(3):
        return nn.Linear(1, 1)


def fitting(module: nn.Module, stop_at: int | None = None) -> Step:
    def step(turn: Turn) -> StepOutput:
        if turn.index == stop_at:
            os.kill(os.getpid(), signal.SIGINT)
        x = torch.randn(16, 1, generator=turn.generator)
        return StepOutput((module(x) - 3 * x - 1).square().mean(), {})

    return step


def run(folder: Path, stop_at: int | None = None) -> dict[str, torch.Tensor]:
    module = line()
    fit("line", module, fitting(module, stop_at), CONFIG, folder=folder, identity={})
    return {name: value.clone() for name, value in module.state_dict().items()}


def test_a_file_holds_what_was_true_when_it_was_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    release, write = threading.Event(), writer.write_tensors

    def held(*given: object) -> Path:
        assert release.wait(20)
        return write(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(writer, "write_tensors", held)
    files, tensor = Writer(is_behind=True), torch.zeros(3)
    files.write({"a": tensor}, tmp_path / "a.safetensors", {})  # comes back before it is written
    tensor += 1
    assert not list(tmp_path.iterdir())
    release.set()
    files.wait()
    assert load_file(tmp_path / "a.safetensors")["a"].tolist() == [0, 0, 0]
    files.close()


@pytest.mark.parametrize("is_behind", [False, True])
def test_an_error_reaches_who_waits_or_writes_next(tmp_path: Path, is_behind: bool) -> None:
    taken = tmp_path / "taken"
    taken.write_text("no folder")
    files = Writer(is_behind=is_behind)

    def twice() -> None:
        files.write({"a": torch.zeros(1)}, taken / "a.safetensors", {})
        files.write({"a": torch.zeros(1)}, tmp_path / "b.safetensors", {})

    with pytest.raises(WeightsError, match="cannot write"):
        twice()
    files.close()
    assert not (tmp_path / "b.safetensors").exists()


def test_writing_behind_changes_no_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = run(tmp_path / "at once")
    monkeypatch.setattr(loop, "Writer", lambda is_behind: Writer(is_behind=True))
    found = run(tmp_path / "behind")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    files = [folder / "line.checkpoint.safetensors" for folder in tmp_path.iterdir()]
    first, second = (file.read_bytes() for file in files)
    assert first == second


def test_an_interrupted_run_has_its_checkpoint_when_it_says_so(
    tmp_path: Path, behind: None
) -> None:
    with pytest.raises(TrainingInterrupted, match="after step 17"):
        run(tmp_path / "stopped", stop_at=16)
    assert (tmp_path / "stopped" / "line.checkpoint.safetensors").exists()
    assert not [t for t in threading.enumerate() if t.name.startswith("checkpoint")]
    resumed, expected = run(tmp_path / "stopped"), run(tmp_path / "whole")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)


SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    from ansm_plugin.training import loop
    from ansm_plugin.training.writer import Writer
    sys.path.insert(0, sys.argv[2])
    import test_writer

    loop.Writer = lambda is_behind: Writer(is_behind=True)
    module = test_writer.line()

    def progress(name, done, steps, logs):
        if done == 23:
            os.kill(os.getpid(), signal.SIGKILL)

    loop.fit("line", module, test_writer.fitting(module), test_writer.CONFIG,
             folder=Path(sys.argv[1]), identity={}, progress=progress)
"""


def test_a_killed_run_goes_on_from_a_whole_file(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(textwrap.dedent(SCRIPT))
    killed = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "killed"), str(Path(__file__).parent)],
        capture_output=True, text=True, check=False, timeout=180,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    # The file of step 21 may not have been whole yet; that of step 14 was waited for.
    assert (tmp_path / "killed" / "line.checkpoint.safetensors").exists()
    resumed, expected = run(tmp_path / "killed"), run(tmp_path / "whole")
    assert all(torch.equal(resumed[name], expected[name]) for name in expected)
