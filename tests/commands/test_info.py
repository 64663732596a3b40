"""`ansm info`: what an ANSM and a localizer say of themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from ansm_plugin.ansm import ANSM
from ansm_plugin.cli import main
from ansm_plugin.weights.ansm_file import Provenance, save_ansm
from ansm_plugin.weights.tensors import write_tensors

Capture = pytest.CaptureFixture[str]


def test_info_tells_what_an_ansm_is(tmp_path: Path, capsys: Capture) -> None:
    origin = Provenance(
        stage="mgr",
        localizer={"class": "Unet", "sha256": "abc"},
        metrics={"loss": 0.25},
        recipe={"fit": {"steps": 3}},
    )
    file = save_ansm(ANSM("small"), tmp_path / "a.safetensors", origin)
    assert main(["info", str(file), "--json", str(tmp_path / "a.json")]) == 0
    said = capsys.readouterr().out
    facts = json.loads((tmp_path / "a.json").read_text())
    assert facts["kind"] == "ANSM"
    assert facts["parameters"] == sum(p.numel() for p in ANSM("small").parameters())
    assert facts["recipe"] == {"fit": {"steps": 3}}
    assert facts["untrained"] is True
    for words in ("mgr", "Unet", "0.25", "unshuffle", "untrained        True"):
        assert words in said


def test_info_tells_what_a_localizer_is(tmp_path: Path, capsys: Capture) -> None:
    tensors = {"w": torch.zeros(3, 4), "b": torch.zeros(3)}
    metadata = {"format": "localizer", "name": "forensic-unet"}
    file = write_tensors(tensors, tmp_path / "l.safetensors", metadata)
    assert main(["info", str(file)]) == 0
    said = capsys.readouterr().out
    for line in (
        "kind             localizer",
        "parameters       15",
        "name             forensic-unet",
    ):
        assert line in said


def test_info_refuses_a_pickle_and_says_how_to_convert(tmp_path: Path, capsys: Capture) -> None:
    torch.save({"w": torch.zeros(1)}, tmp_path / "old.pth")
    assert main(["info", str(tmp_path / "old.pth")]) == 2
    assert "ansm convert" in capsys.readouterr().err
