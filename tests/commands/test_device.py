"""`--device`: what a command computes on, what it says of that, and names that are refused."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.pretended import pretending

from ansm_plugin.cli import main
from ansm_plugin.evaluation.calibration import Calibration
from ansm_plugin.evaluation.config import EvaluationConfig

Capture = pytest.CaptureFixture[str]
# The least that each command computes with; OUT is a new folder or file, PHOTO a photograph.
COMMANDS = {
    "demo": "demo --count 2 --output OUT",
    "localize": "localize PHOTO --output OUT",
    "train": "train ffa --output OUT --steps 2 --data.count 8 --data.forgeries.size 32 "
    "--attacks.steps 1 --ffa.fit.batch-size 4",
    "evaluate": "evaluate --threat T0 --attacks pgd --eps 8 --attack-steps 1 --aims none --count 2 "
    "--baselines jpeg --cost-size 32",
    "attack": "attack --count 2 --eps 8 --attack-steps 1 --output OUT",
    "calibrate": "calibrate --count 8 --crop-size 32 --output OUT.safetensors",
    "export": "export --output OUT.onnx --size 32",
}
NUMBERS = {"demo", "localize", "evaluate", "attack"}  # have --json


@pytest.fixture(name="accelerator")
def _accelerator() -> Iterator[Counter[str]]:
    with pretending() as convolutions:
        yield convolutions


def arguments(command: str, folder: Path) -> list[str]:
    photo = folder / "photo.png"
    if not photo.exists():
        pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(photo)
    words = COMMANDS[command].replace("OUT", str(folder / "out")).replace("PHOTO", str(photo))
    return words.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_device_that_is_not_there_is_refused_before_anything_is_written(
    command: str, tmp_path: Path, capsys: Capture
) -> None:
    assert not torch.cuda.is_available() or pytest.skip("it is there")
    assert main([*arguments(command, tmp_path), "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "device is 'cuda'; this machine has none of that name. Allowed: auto, cpu." in said
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"]


@pytest.fixture(name="short")
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo and the calibration attack once."""
    quick = EvaluationConfig(threats=("T0",), attacks=("pgd",), eps_255=(8,), steps=1)
    monkeypatch.setattr("ansm_plugin.evaluation.config.demo", lambda: quick)
    few = partial(Calibration, harmless=("none", "noise"), attacks=("pgd",), steps=1)
    monkeypatch.setattr("ansm_plugin.evaluation.calibration.Calibration", few)


@pytest.mark.usefixtures("packaged", "short")
@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"export"}))  # it traces real tensors
def test_everything_is_computed_on_the_accelerator_that_is_there(
    command: str, tmp_path: Path, accelerator: Counter[str], capsys: Capture
) -> None:
    """By default, said in the first line and in the numbers; no convolution runs on the CPU."""
    report = ["--json", str(tmp_path / "numbers.json")] if command in NUMBERS else []
    assert main([*arguments(command, tmp_path), *report]) == 0
    assert capsys.readouterr().out.startswith("computes on mps:0 (mps): ")
    assert accelerator["accelerator"] > 0
    assert accelerator["cpu"] == 0
    if report:
        assert json.loads(Path(report[1]).read_text())["computed"]["device"] == "mps:0"


@pytest.mark.usefixtures("packaged")
def test_the_cpu_computes_where_it_is_named(
    tmp_path: Path, accelerator: Counter[str], capsys: Capture
) -> None:
    assert main([*arguments("localize", tmp_path), "--device", "cpu"]) == 0
    assert capsys.readouterr().out.startswith("computes on cpu (")
    assert accelerator["accelerator"] == 0
