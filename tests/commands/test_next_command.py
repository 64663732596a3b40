"""`info` and `convert` say which `--localizer` fits; what is guessed is called a guess."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones.recognised import recognise
from ansm_plugin.backbones.reference import (
    build_architecture,
    build_localizer,
    packaged_ansm,
    packaged_weights,
)
from ansm_plugin.cli import main
from ansm_plugin.commands.facts import describe_file
from ansm_plugin.weights.ansm_file import Provenance, save_ansm
from ansm_plugin.weights.tensors import write_tensors

Capture = pytest.CaptureFixture[str]
SMALL = "smp:Unet?encoder_name=mobilenet_v2&encoder_depth=4&decoder_channels=24,16,16,8"


def shapes_of(localizer: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in localizer.state_dict().items()}


@pytest.mark.parametrize(
    "name",
    [
        SMALL,
        "smp:FPN?encoder_name=resnet34&classes=2",
        "smp:DeepLabV3Plus?encoder_name=mobilenet_v2",
        "smp:Unet?encoder_name=resnet18&decoder_attention_type=scse",
        "forensic-unet",
    ],
)
def test_a_localizer_of_smp_is_recognised(name: str) -> None:
    with torch.device("meta"):
        shapes = shapes_of(build_architecture(name))
    assert recognise(shapes) == name


def test_an_encoder_that_computes_when_it_is_built_is_recognised() -> None:
    state = torch.get_rng_state()
    shapes = shapes_of(build_architecture("smp:Segformer?encoder_name=mit_b0"))
    torch.set_rng_state(state)
    assert recognise(shapes) == "smp:Segformer?encoder_name=mit_b0"
    assert torch.equal(torch.get_rng_state(), state)


def test_one_tensor_more_or_of_another_shape_is_no_longer_recognised() -> None:
    with torch.device("meta"):
        shapes = shapes_of(build_architecture(SMALL))
    assert recognise({**shapes, "noise.weight": (3,)}) is None
    assert recognise({**shapes, "encoder.features.0.0.weight": (32, 4, 3, 3)}) is None
    assert recognise({name: s for name, s in shapes.items() if "segmentation" not in name}) is None


@pytest.mark.parametrize("channels", [(), (0,), (60_000, 1, 1, 1)])
@pytest.mark.parametrize(
    "mark", ["encoder.patch_embed1.proj.weight", "encoder.features.0.0.weight"]
)
def test_shapes_that_no_localizer_has_are_recognised_as_none(
    channels: tuple[int, ...], mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ansm_plugin.weights.catalogue.packaged", dict)
    names = (f"decoder.blocks.{level}.conv1.0.weight" for level in range(5))
    shapes = {mark: (3,), "segmentation_head.0.weight": channels, **dict.fromkeys(names, channels)}
    assert recognise(shapes) is None


def test_convert_prints_a_name_that_can_be_pasted(tmp_path: Path, capsys: Capture) -> None:
    source, target = tmp_path / "old.pth", tmp_path / "my new.safetensors"
    model = build_architecture(SMALL)
    torch.save({"state_dict": {f"module.{k}": v for k, v in model.state_dict().items()}}, source)
    assert main(["convert", str(source), str(target)]) == 0
    said = capsys.readouterr().out
    line = next(line for line in said.splitlines() if line.startswith("use"))
    word, name = shlex.split(line.removeprefix("use"))
    assert (word, name) == ("--localizer", f"{SMALL}@{target}")
    assert "a guess" in said
    loaded = build_localizer(name).state_dict()
    assert all(torch.equal(value, loaded[key]) for key, value in model.state_dict().items())


def test_convert_for_a_localizer_guesses_nothing(tmp_path: Path, capsys: Capture) -> None:
    source, target = tmp_path / "old.pth", tmp_path / "new.safetensors"
    torch.save(build_architecture(SMALL).state_dict(), source)
    assert main(["convert", str(source), str(target), "--for", SMALL]) == 0
    said = capsys.readouterr().out
    assert f"use      --localizer '{SMALL}@{target}'" in said
    assert "guess" not in said


def test_what_fits_nothing_is_said_to(tmp_path: Path, capsys: Capture) -> None:
    torch.save({"head.weight": torch.zeros(1, 3, 1, 1)}, tmp_path / "old.pth")
    assert main(["convert", str(tmp_path / "old.pth"), str(tmp_path / "new.safetensors")]) == 0
    assert "use      its names and shapes fit none that is known" in capsys.readouterr().out


def ansm_facts(folder: Path, **more: Any) -> dict[str, str]:
    file = save_ansm(ANSM("small"), folder / "a.safetensors", Provenance(stage="mgr", **more))
    use: dict[str, str] = describe_file(file)["use"]
    return use


def test_info_on_an_ansm_names_its_localizer_and_what_is_not_here(
    tmp_path: Path, capsys: Capture
) -> None:
    there = write_tensors({"w": torch.zeros(1)}, tmp_path / "l.safetensors", {})
    use = ansm_facts(tmp_path, recipe={"localizer": f"smp:Unet@{there}"})
    assert use["localizer"] == f"--localizer smp:Unet@{there}"
    assert use["ansm"] == f"--ansm {tmp_path / 'a.safetensors'}"
    assert "not here" not in use
    there.unlink()
    use = ansm_facts(tmp_path, recipe={"localizer": f"smp:Unet@{there}"})
    assert use["not here"] == str(there)
    arguments = ["info", str(tmp_path / "a.safetensors"), "--json", str(tmp_path / "a.json")]
    assert main(arguments) == 0
    assert "--localizer smp:Unet@" in capsys.readouterr().out
    assert json.loads((tmp_path / "a.json").read_text())["use"] == use


def test_info_without_a_recipe_asks_the_state_or_says_what_is_known(tmp_path: Path) -> None:
    state = describe_file(packaged_ansm())["localizer"]
    use = ansm_facts(tmp_path, localizer=state)
    assert use["localizer"] == "--localizer forensic-unet"
    assert "state" in use["known from"]
    use = ansm_facts(tmp_path, localizer={"family": "timm", "class": "Mine", "sha256": "0"})
    assert use == {"localizer": "not recorded; it was trained for: timm Mine"}


def test_info_names_weights_that_are_here_in_place_of_files_that_are_not(tmp_path: Path) -> None:
    state = describe_file(packaged_ansm())["localizer"]
    gone = {"localizer": "smp:Unet@runs/gone.safetensors"}
    use = ansm_facts(tmp_path, localizer=state, recipe=gone)
    assert use["localizer"] == "--localizer forensic-unet"
    assert "not here" not in use


def test_info_says_how_weights_of_a_recipe_are_installed(tmp_path: Path) -> None:
    use = ansm_facts(tmp_path, recipe={"localizer": "casia1-cnn"})
    assert use["localizer"] == "--localizer casia1-cnn"
    assert "pip install ./recipes/lab/weights" in use["not here"]


def test_info_on_a_localizer_takes_the_name_in_its_file() -> None:
    file = packaged_weights("forensic-unet")
    use = describe_file(file)["use"]
    assert use["localizer"] == f"--localizer {shlex.quote(f'forensic-unet@{file}')}"
    assert use["known from"] == "its file"


@pytest.mark.parametrize("name", ["os:system", "smp_evil:run@x.safetensors"])
def test_code_that_a_file_names_is_not_offered_for_pasting(tmp_path: Path, name: str) -> None:
    use = ansm_facts(tmp_path, recipe={"localizer": name})
    assert "--localizer" not in use["localizer"]
    assert "code of its author's" in use["localizer"]


@pytest.mark.parametrize("path", ["x" * 10_000, "a\0b", "~nobody-of-that-name/a"])
def test_a_path_that_names_no_file_is_not_here(tmp_path: Path, path: str) -> None:
    assert ansm_facts(tmp_path, recipe={"localizer": f"smp:Unet@{path}"})["not here"] == path


def test_what_a_file_names_cannot_leave_its_quotes(tmp_path: Path) -> None:
    use = ansm_facts(tmp_path, recipe={"localizer": "smp:Unet'; echo \x1b[2J\n#"})
    assert shlex.split(use["localizer"]) == ["--localizer", "smp:Unet'; echo \\x1b[2J\\n#"]
