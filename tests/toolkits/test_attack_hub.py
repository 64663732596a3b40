"""The command that attacks a model of ForensicHub, through test doubles of it and IMDLBenCo."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import HostModel

from ansm_plugin.toolkits import attack_hub

Capture = pytest.CaptureFixture[str]
DEFENDED = {"name": "ANSM", "init_config": {"name": "HostModel"}}


@pytest.fixture
def config() -> dict[str, Any]:
    """Return what a YAML of the host's test.py says, with datasets that normalise differently."""
    datasets = [
        {"name": name, "dataset_name": name, "init_config": {"path": "x", "image_size": 32}}
        for name in ("ManiDataset", "IMDLCrossDataset")
    ]
    transform = {"name": "AIGCTransform", "init_config": {"norm_type": "clip"}}
    return {
        "model": {"name": "HostModel"},
        "test_dataset": datasets,
        "transform": transform,
        "test_batch_size": 2,
    }


def run(folder: Path, config: dict[str, Any], *arguments: str) -> int:
    """Run the command on a config, with the checkpoint of a bare model."""
    (folder / "test.yaml").write_text(json.dumps(config))
    torch.manual_seed(1)
    torch.save({"model": HostModel().state_dict()}, folder / "checkpoint-0.pth")
    given = ["--config", str(folder / "test.yaml")]
    given += ["--checkpoint", str(folder / "checkpoint-0.pth")]
    attack = ["--attacks", "pgd", "--attack_eps", "8", "--attack_steps", "2", "--device", "cpu"]
    return attack_hub.main([*given, *attack, "--json", str(folder / "out.json"), *arguments])


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(("model", "rows"), [({"name": "HostModel"}, 2), (DEFENDED, 5)])
def test_every_dataset_is_attacked_in_its_own_normalisation(
    model: dict[str, Any], rows: int, config: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    untrained = pytest.warns(UserWarning, match="the checkpoint is that of HostModel alone")
    with untrained if model is DEFENDED else contextlib.nullcontext():
        assert run(tmp_path, {**config, "model": model}) == 0
    written = json.loads((tmp_path / "out.json").read_text())
    assert [row["dataset"] for row in written["rows"]] == (
        ["ManiDataset"] * rows + ["IMDLCrossDataset"] * rows
    )
    assert written["localizer"] == "HostModel"
    assert written["versions"]["forensichub"] == "0.0.1"
    # The same images, and the same attack wherever it starts from the right pixels.
    values = [[v for k, v in row.items() if k.startswith("pixel")] for row in written["rows"]]
    bare = [i for i, row in enumerate(written["rows"]) if row["defence"] == "none"]
    assert values[bare[0]] != values[bare[1]]
    if rows == 5:  # fresh: the ANSM changes nothing
        assert values[0] == values[1]
        assert values[2] == values[3]
    assert capsys.readouterr().out.count("pixel-level IOU") == 2 * rows


def test_the_post_function_is_found_by_the_hosts_rule(
    hub: ModuleType, config: dict[str, Any], tmp_path: Path
) -> None:
    called: list[str] = []
    hub.POSTFUNCS.register_module("cat_net_post_func", lambda item: called.append(item["name"]))
    assert (
        run(tmp_path, {**config, "model": {"name": "HostModel", "post_func_name": "Cat_Net"}}) == 0
    )
    assert set(called) == {"0", "1"}


def changed(config: dict[str, Any], part: str, value: Any) -> dict[str, Any]:
    return {**config, part: value}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("model", {"name": "Nothing"}, "cannot build the model Nothing: ValueError"),
        ("model", {}, "names no model; the host's test.py takes the same file"),
        ("transform", {"name": "AIGC"}, "cannot build the transform AIGC"),
        ("test_dataset", [], "names no test_dataset"),
        (
            "test_dataset",
            [{"name": "ManiDataset", "init_config": {"path": "absent"}}],
            "cannot read ManiDataset: JSON file not found at absent",
        ),
        (
            "test_dataset",
            [{"name": "ManiDataset", "init_config": {"paht": "x"}}],
            "cannot build the dataset ManiDataset: TypeError",
        ),
    ],
)
def test_mistakes_are_one_line(
    part: str, value: Any, said: str, config: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    assert run(tmp_path, changed(config, part, value)) == 2
    assert said in capsys.readouterr().err


def test_a_model_that_fails_on_a_dataset_is_named(
    hub: ModuleType, config: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    class Fails(HostModel):
        def forward(self, image: Any, mask: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
            raise ValueError("Target size must be the same as input size")

    hub.MODELS.register_module("Fails", Fails)
    assert run(tmp_path, changed(config, "model", {"name": "Fails"})) == 2
    said = capsys.readouterr().err
    assert "Fails fails on a batch of image, mask, label, name: ValueError('Target" in said


def test_a_model_of_labels_is_refused(
    hub: ModuleType, config: dict[str, Any], tmp_path: Path, capsys: Capture
) -> None:
    class Labels(HostModel):
        def forward(self, image: Any, mask: Any, **kwargs: Any) -> dict[str, Any]:  # type: ignore[override]
            return {"backward_loss": image.sum(), "pred_label": image.mean((1, 2, 3))}

    hub.MODELS.register_module("Labels", Labels)
    assert run(tmp_path, changed(config, "model", {"name": "Labels"})) == 2
    assert "this model gives no pred_mask: pixels are attacked" in capsys.readouterr().err


@pytest.mark.usefixtures("hub")
def test_a_file_that_is_not_there_or_no_yaml_is_named(tmp_path: Path, capsys: Capture) -> None:
    given = ["--checkpoint", "x.pth", "--device", "cpu", "--config"]
    assert attack_hub.main([*given, str(tmp_path / "absent.yaml")]) == 2
    assert "absent.yaml" in capsys.readouterr().err
    (tmp_path / "broken.yaml").write_text("[")
    assert attack_hub.main([*given, str(tmp_path / "broken.yaml")]) == 2
    assert "ForensicHub cannot read" in capsys.readouterr().err
