"""The command that attacks a host's model, through the test double of IMDLBenCo."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import HostModel, TwoStreams

from ansm_plugin.toolkits import attack_host
from ansm_plugin.weights.convert import convert_checkpoint

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def arguments(benco: ModuleType, tmp_path: Path) -> list[str]:
    """Return a command line that works, with a checkpoint as the host's train.py writes it."""
    for kind in (HostModel, TwoStreams):
        kept = {"model": kind().state_dict(), "epoch": 0, "args": argparse.Namespace(lr=0.1)}
        torch.save(kept, tmp_path / f"{kind.__name__}.pth")
    (tmp_path / "test.json").write_text(json.dumps({"tiny": str(tmp_path)}))
    given = ["--test_data_json", str(tmp_path / "test.json"), "--image_size", "16"]
    checkpoint = ["--checkpoint", str(tmp_path / "HostModel.pth")]
    attack = ["--attacks", "pgd", "--attack_eps", "8", "--attack_steps", "2", "--device", "cpu"]
    return ["--model", "HostModel", *given, *checkpoint, *attack]


@pytest.mark.parametrize(("model", "rows"), [("HostModel", 2), ("ANSM_HostModel", 5)])
@pytest.mark.parametrize("padding", [[], ["--if_padding"]])
def test_every_row_is_printed_and_written(
    arguments: list[str], tmp_path: Path, capsys: Capture, model: str, rows: int, padding: list[str]
) -> None:
    out = tmp_path / "out.json"
    untrained = pytest.warns(UserWarning, match="the checkpoint is that of HostModel alone")
    with untrained if model.startswith("ANSM_") else contextlib.nullcontext():
        assert attack_host.main([*arguments, "--model", model, "--json", str(out), *padding]) == 0
    written = json.loads(out.read_text())
    assert len(written["rows"]) == rows
    assert written["localizer"] == "HostModel"
    assert written["versions"]["imdlbenco"] == "0.1.45"
    assert {row["images"] for row in written["rows"]} == {3}
    said = capsys.readouterr().out
    assert said.count("pixel-level IOU") == rows
    assert "T1 pgd@8" in said


def test_inputs_that_the_attack_does_not_reach_are_said(
    arguments: list[str], benco: ModuleType, tmp_path: Path, capsys: Capture
) -> None:
    def twostreams_post_func(item: dict[str, Any]) -> None:
        item["DCT_coef"] = torch.zeros(1)

    benco.POSTFUNCS.register_module(module=twostreams_post_func)
    changed = ["--model", "ANSM_TwoStreams", "--checkpoint", str(tmp_path / "TwoStreams.pth")]
    with pytest.warns(UserWarning, match="defended partially"):
        assert attack_host.main([*arguments, *changed]) == 0
    assert "attacked partially: DCT_coef stay" in capsys.readouterr().out


@pytest.mark.usefixtures("benco")
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            ["--model", "ANSM_HostModl"],
            "unknown model of IMDLBenCo 'ANSM_HostModl'. Nearest: ANSM_",
        ),
        (["--checkpoint", "absent.pth"], "there is no checkpoint absent.pth"),
        (["--test_data_json", "absent.json"], "absent.json"),
        (["--attack_steps", "0"], "1 or more"),
        (["--imports", "no_such_module"], "cannot import no_such_module of --imports"),
        (["--width", "8"], "of another shape"),
    ],
)
def test_mistakes_are_one_line(
    arguments: list[str], changed: list[str], said: str, capsys: Capture
) -> None:
    assert attack_host.main([*arguments, *changed]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is not JSON"),
        ("[]", "names no dataset"),
        ('{"none": "empty"}', "IMDLBenCo cannot read the dataset empty: no Tp in empty"),
    ],
)
def test_wrong_datasets_are_named(
    arguments: list[str], text: str, said: str, tmp_path: Path, capsys: Capture
) -> None:
    (tmp_path / "test.json").write_text(text)
    assert attack_host.main(arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.usefixtures("arguments")
def test_a_checkpoint_of_the_hosts_train_can_be_converted(tmp_path: Path) -> None:
    done = convert_checkpoint(tmp_path / "HostModel.pth", tmp_path / "x.safetensors")
    assert done.place == ("model",)
    assert set(done.kept) == set(HostModel().state_dict())
