"""Attacks of the user's own and lists as they are in the field, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.colour_blinded import ColourBlinded
from torch import nn

from ansm_plugin.backbones import reference
from ansm_plugin.cli import main
from ansm_plugin.data.pairs import Pair
from ansm_plugin.evaluation.manifest import Manifest

MODULE = "support.foreign_attacks"


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a localizer of one line stand in for that of every name."""

    def build(name: str) -> nn.Module:
        localizer = ColourBlinded().eval()
        localizer.pretrained_cfg = {"mean": (0.0,) * 3, "std": (1.0,) * 3}  # type: ignore[assignment]
        return localizer

    monkeypatch.setattr(reference, "build_localizer", build)


def test_a_set_is_made_with_an_attack_of_ones_own(pairs: list[Pair], tmp_path: Path) -> None:
    output, (pair, *_) = tmp_path / "set", pairs
    (tmp_path / "lists").mkdir()
    listed = tmp_path / "lists" / "mine.json"
    listed.write_text(
        json.dumps([[str(pair.image), str(pair.mask)], [str(pair.image), "Negative"]])
    )
    arguments = ["attack", "--localizer", "a:b", "--images", str(listed), "--output", str(output)]
    arguments += ["--attacks", f"{MODULE}:signs", "--eps", "8", "--device", "cpu"]
    assert main(arguments) == 2  # the list lies elsewhere, and nobody said that it is trusted
    assert main([*arguments, "--allow-outside"]) == 0
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["skipped"] == [pair.image.name]
    assert len(manifest["code"][f"{MODULE}:signs"]) == 12
    assert Manifest.from_json(manifest).as_json() == manifest
    (made,) = manifest["files"]
    assert made["attack"] == f"{MODULE}:signs"
    with Image.open(output / "Tp" / made["file"]) as found, Image.open(pair.image) as before:
        change = torch.tensor(list(found.tobytes())) - torch.tensor(list(before.tobytes()))
    assert int(change.abs().max()) == 8


def test_whose_mistake_a_bad_answer_is_is_said(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]  # type: ignore[union-attr]
    attack = [
        "--localizer",
        "a:b",
        "--attacks",
        f"{MODULE}:too_far",
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(["attack", *folders, *attack, "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert f"attack {MODULE}:too_far changed a pixel by" in said
    assert "Traceback" not in said


def test_a_failure_of_the_users_own_code_is_named_as_his(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]  # type: ignore[union-attr]
    attack = [
        "--localizer",
        "a:b",
        "--attacks",
        f"{MODULE}:broken",
        "--output",
        str(tmp_path / "o"),
    ]
    assert main(["attack", *folders, *attack, "--device", "cpu"]) != 0
    assert "foreign_attacks.py" in capsys.readouterr().err


def test_few_pairs_are_evaluated_with_baselines_and_an_attack_of_ones_own(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]  # type: ignore[union-attr]
    result = tmp_path / "r.json"
    attack = ["--attacks", f"{MODULE}:signs", "--eps", "8", "--threat", "T0,T1", "--aims", "none"]
    others = ["--baselines", "bits", "--json", str(result), "--device", "cpu"]
    assert main(["evaluate", "--localizer", "a:b", *folders, *attack, *others]) == 0
    assert "3 pairs are too few to keep 16 of them apart" in capsys.readouterr().err
    found = json.loads(result.read_text())
    assert found["images"] == 3
    rows = [row for row in found["rows"] if row["threat"] == "T1"]
    assert {row["attack"] for row in rows} == {f"{MODULE}:signs"}
    assert len(rows) == 3  # bare, defended, and the baseline
