"""`ansm convert`: what it says of a checkpoint, checked against a localizer or not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.small_net import *  # noqa: F403 - fixtures, found by their names
from support.small_net import State, net

from ansm_plugin.cli import main

_MODULE = """
from torch import nn
def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the current folder, in which a localizer can be named by my_nets:build."""
    (tmp_path / "my_nets.py").write_text(_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_the_command_says_that_the_result_will_load(
    home: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    del state["1.num_batches_tracked"]
    content = {f"net.{name}": value for name, value in state.items()} | {"mean": torch.ones(3)}
    torch.save({"state_dict": content, "cfg": Path("x")}, "a.pth")
    assert main(["convert", "a.pth", "a.safetensors", "--for", "my_nets:build"]) == 0
    said = capsys.readouterr().out
    assert "stripped 'net.' from the start of the names" in said
    assert "added    1 counters of BatchNorms, from 0: 1.num_batches_tracked" in said
    assert "dropped  1 tensors that are not the model's: mean" in said
    assert "dropped  1 kinds of objects, none of them made: pathlib." in said
    assert "it loads into my_nets:build: every name and shape fits" in said


def test_the_command_says_that_nothing_was_checked(
    home: Path, state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state, "a.pth")
    assert main(["convert", "a.pth", "a.safetensors"]) == 0
    assert "not checked against a localizer; add --for NAME" in capsys.readouterr().out


def test_the_command_writes_nothing_that_does_not_fit(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(net(8).state_dict(), "a.pth")
    assert main(["convert", "a.pth", "a.safetensors", "--for", "my_nets:build@x.safetensors"]) == 2
    said = capsys.readouterr().err
    assert "does not fit my_nets:build (Sequential)" in said
    assert "of another shape: 0.weight is (8, 3, 3, 3), not (4, 3, 3, 3)" in said
    assert not Path("a.safetensors").exists()
    assert main(["convert", "a.pth", "a.safetensors", "--for", "forensic-unte"]) == 2
    assert "forensic-unet" in capsys.readouterr().err
