"""`ansm doctor`: one page about a localizer by name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ansm_plugin.cli import main

Capture = pytest.CaptureFixture[str]
NAME = "timm:test_resnet"
CODE = "from tests.support.cutting import *\ndef build():\n    return Answered(CUTS['detach'])\n"


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a localizer that cuts the gradient off."""
    (tmp_path / "cut_off.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "cut_off:build"


def test_the_page_says_what_is_known(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "new" / "d.json"
    assert main(["doctor", NAME, "--device", "cpu", "--json", str(file)]) == 0
    said = capsys.readouterr()
    for words in (
        "localizer    TimmLocalizer; ",
        "float32 on cpu",
        "family       timm",
        "multiples of 32 pixels",
        "mask holds   logits",
        "yes: localize",
        "train ffa",
    ):
        assert words in said.out, words
    assert re.search(r"gradient +(9\d|100)% comes back", said.out)
    assert "GUESS" not in said.out
    assert "random weights" in said.err
    table = json.loads(file.read_text())
    assert table["model"] == NAME
    assert table["sizes"]["value"] == "multiples of 32 pixels; other images are padded"


def test_options_overrule_what_was_found(cut: str, capsys: Capture) -> None:
    options = ["--localizer-stride", "8", "--localizer-taps", "stem,head"]
    assert main(["doctor", cut, *options, "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "(as you say: it answers an image of 88x72)" in said
    assert "head: 1 channels at 4096 places" in said
    assert "NO: attack (no gradient comes back)" in said
    assert "none comes back to the image: its output is detached" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["smp:Unett"], "Nearest: Unet"),
        (["forensic-unett"], "Nearest: forensic-unet"),
        (["nosuch.module:build"], "nosuch"),
        (["timm:test_resnet@nothing.safetensors"], "nothing.safetensors"),
        (["timm:test_resnet", "--localizer-std", "0,1,1"], "std above 0"),
        (["timm:test_resnet", "--device", "abacus"], "abacus"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*random weights")
def test_mistakes_are_the_users_and_said(words: list[str], said: str, capsys: Capture) -> None:
    assert main(["doctor", *words]) == 2
    message = capsys.readouterr().err
    assert said in message
    assert "Traceback" not in message


def test_weights_without_values_are_the_users_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    code = "import torch\ndef build():\n    return torch.nn.Conv2d(3, 1, 1, device='meta')\n"
    (tmp_path / "empty_handed.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["doctor", "empty_handed:build", "--device", "cpu"]) == 2
    assert "empty_handed:build have no values" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "needs MODEL"),
        ([""], "it is empty"),
        (["x", "y"], "has no use for 'y'"),
        (["x", "--localizer-mean", "1,2"], "must be three numbers with commas"),
        (["x", "--localizer-activation", "relu"], "'relu'"),
    ],
)
def test_a_command_line_that_cannot_be_read(words: list[str], said: str, capsys: Capture) -> None:
    assert main(["doctor", *words]) == 2
    assert said in capsys.readouterr().err
