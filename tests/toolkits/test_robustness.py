"""Attacks in the metrics of IMDLBenCo and the command for them, through its test double."""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import HalfDetached, HostModel, TwoStreams, trained

from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits import attack_host, imdlbenco, robustness
from ansm_plugin.toolkits.host_model import defend
from ansm_plugin.toolkits.robustness import attack_plan, evaluate_host
from ansm_plugin.weights.convert import convert_checkpoint

Capture = pytest.CaptureFixture[str]
Batch = dict[str, Any]


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


# --- attacks in the host's metrics ----------------------------------------------------------------


def spec_of(batch: Batch) -> LocalizerSpec:
    return imdlbenco.SPEC


@pytest.mark.usefixtures("benco")
def test_attacks_are_scored_with_and_without_the_defence(batch: Batch) -> None:
    model = HostModel().eval()
    with torch.no_grad():  # as many pixels above the threshold as below
        model.head.bias -= model(**batch)["pred_mask"].logit().median()
    pair = defend(model, imdlbenco.SPEC).eval().requires_grad_(False)
    plan = attack_plan(["fgsm", "pgd"], [8.0], 3, is_defended=True)
    rows = evaluate_host(pair, lambda: iter([batch, batch]), plan, seed=0, spec_of=spec_of)
    names = [(r["threat"], r["attack"], r["defence"]) for r in rows]
    assert names == [
        ("T0", "none", "none"),
        ("T0", "none", "ansm"),
        ("T1", "fgsm", "none"),
        ("T1", "fgsm", "ansm"),
        ("T1", "pgd", "none"),
        ("T1", "pgd", "ansm"),
        ("T4", "pgd", "ansm"),
    ]
    assert {r["images"] for r in rows} == {4}
    # Fresh: the same with and without, and an attack that takes something away.
    assert rows[0]["pixel-level F1"] == rows[1]["pixel-level F1"] > rows[4]["pixel-level F1"]
    assert rows[4]["pixel-level F1"] == rows[5]["pixel-level F1"]


@pytest.mark.usefixtures("benco")
@pytest.mark.parametrize("padded", [False, True])
def test_a_model_that_cuts_the_gradient_is_named_before_it_is_attacked(
    batch: Batch, padded: bool
) -> None:
    if padded:
        batch["shape_mask"] = torch.ones_like(batch["mask"])
    plan = attack_plan(["fgsm"], [8.0], 1, is_defended=False)
    model = HalfDetached().eval()
    with pytest.warns(UserWarning, match=r"\d\d% of the gradient comes back through HalfDetached"):
        evaluate_host(model, lambda: iter([batch]), plan, seed=0, spec_of=spec_of)
    model.share = 0.0
    scored: list[Any] = []
    model.register_forward_hook(lambda _, given, output: scored.append(len(output["pred_mask"])))
    with pytest.raises(LocalizerError, match="no gradient comes back through HalfDetached"):
        evaluate_host(model, lambda: iter([batch]), plan, seed=0, spec_of=spec_of)
    assert set(scored) == {1}  # one image was tried, the batch was not scored
    evaluate_host(model, lambda: iter([batch]), plan[:1], seed=0, spec_of=spec_of)


@pytest.mark.usefixtures("benco")
def test_a_bare_model_is_attacked_alone(batch: Batch) -> None:
    plan = attack_plan(["pgd"], [4.0], 2, is_defended=False)
    rows = evaluate_host(HostModel().eval(), lambda: iter([batch]), plan, seed=0, spec_of=spec_of)
    assert [(r["threat"], r["defence"]) for r in rows] == [("T0", "none"), ("T1", "none")]


@pytest.mark.usefixtures("benco")
def test_the_white_box_attack_goes_through_the_ansm(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    through = []
    monkeypatch.setattr(robustness, "attack_batch", lambda m, b, *_, **__: through.append(m) or b)
    pair = trained(defend(HostModel(), imdlbenco.SPEC)).eval()
    plan = attack_plan(["pgd"], [4.0], 2, is_defended=True)
    evaluate_host(pair, lambda: iter([batch]), plan, seed=0, spec_of=spec_of)
    assert through == [pair.localizer, pair]


@pytest.mark.parametrize(
    ("eps", "steps", "said"),
    [
        ([0.0], 1, r"attack_eps is \[0\.0\]; .* at most 255"),
        ([300.0], 1, "at most 255"),
        ([4.0], 0, "attack_steps is 0; allowed: 1 or more"),
    ],
)
def test_numbers_out_of_range_are_refused(eps: list[float], steps: int, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        attack_plan(["pgd"], eps, steps, is_defended=True)
