"""Files that are not what they should be: never a pickle, never silently wrong, named in words."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.ansm_files import *  # noqa: F403 - fixtures, found by their names
from support.ansm_files import THIN, rewritten
from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.weights.ansm_file import (
    FORMAT_VERSION,
    AnsmFile,
    Provenance,
    load_ansm,
    read_provenance,
)
from ansm_plugin.weights.tensors import load_strictly, read_metadata


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights file .*nothing"):
        load_ansm(tmp_path / "nothing.safetensors")
    (tmp_path / "mgr.safetensors").touch()
    with pytest.raises(WeightsError, match=r"is a folder; .*\(mgr\.safetensors\)"):
        load_ansm(tmp_path)


@pytest.mark.parametrize("name", ["model.pth", "model.ckpt", "renamed.safetensors"])
@pytest.mark.parametrize("kind", ["torch", "legacy", "pickle"])
def test_a_pickle_is_refused_with_the_command_to_convert_it(
    tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / name
    state = {"weight": torch.rand(2)}
    if kind == "pickle":
        path.write_bytes(pickle.dumps({"weight": [1.0]}))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    with pytest.raises(WeightsError, match=rf"is a pickle.*ansm convert .*{name} .*\.safetensors"):
        load_ansm(path)


def test_a_safetensors_file_whose_header_looks_like_a_pickle_is_read(tmp_path: Path) -> None:
    """A header of 0x280 bytes starts a file with the bytes of a pickle."""
    path = tmp_path / "a.safetensors"
    for padding in range(600):
        save_file({"w": torch.zeros(1)}, path, metadata={"format": "ansm", "x": " " * padding})
        if path.read_bytes()[:2] == b"\x80\x02":
            break
    else:
        pytest.fail("no header of that length was found")
    with pytest.raises(WeightsError, match="format version"):
        load_ansm(path)


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_truncated_file_is_refused(saved: Path, kept: int) -> None:
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="truncated or another kind of file"):
        load_ansm(saved)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="not one of an ANSM"):
        load_ansm(path)


@pytest.mark.parametrize("key", ["localizer", "normalisation", "recipe", "metrics"])
@pytest.mark.parametrize("text", ["[1]", "{", "7"])
def test_a_damaged_provenance_is_refused(saved: Path, key: str, text: str) -> None:
    damaged = rewritten(saved, **{key: text})
    for read in (AnsmFile.read, read_provenance):
        with pytest.raises(WeightsError, match=f"which localizer|entry '{key}'"):
            read(damaged)
    assert load_ansm(damaged).architecture == THIN  # who wants the module alone gets it


def test_what_a_file_does_not_say_is_empty(saved: Path) -> None:
    bare = {k: v for k, v in read_metadata(saved).items() if k.startswith(("format", "arch"))}
    save_file(load_file(saved), saved, metadata=bare)
    assert AnsmFile.read(saved).provenance == Provenance(stage="")


@pytest.mark.parametrize("version", [str(FORMAT_VERSION + 1), "new", ""])
def test_a_newer_format_is_refused(saved: Path, version: str) -> None:
    with pytest.raises(WeightsError, match=f"format version '{version}'.*Upgrade"):
        load_ansm(rewritten(saved, format_version=version))


@pytest.mark.parametrize(
    "architecture", ["", "[]", '{"layers": 3}', '{"widths": [1]}', '{"bound_255": 0}']
)
def test_an_architecture_that_cannot_be_read_is_refused(saved: Path, architecture: str) -> None:
    with pytest.raises(WeightsError, match="does not say which ANSM it holds"):
        load_ansm(rewritten(saved, architecture=architecture))


def test_tensors_that_do_not_fit_are_counted_and_named(saved: Path) -> None:
    other = json.dumps(replace(THIN, widths=(5, 6)).as_dict())
    with pytest.raises(WeightsError, match=r"0 tensors missing .* of another shape \['trunk"):
        load_ansm(rewritten(saved, architecture=other))
    with pytest.raises(WeightsError, match=r"1 tensors missing \['bias'\], 1 unknown \['offset'\]"):
        load_strictly(nn.Linear(1, 1), {"weight": torch.zeros(1, 1), "offset": torch.zeros(1)}, "f")


def test_another_architecture_is_refused(saved: Path) -> None:
    with pytest.raises(WeightsError, match="holds the architecture"):
        load_ansm(saved, into="small")
    with pytest.raises(WeightsError, match="holds the architecture"):  # the same tensors would fit
        load_ansm(saved, into=ANSM(replace(THIN, bound_255=8.0)))
    with pytest.raises(ConfigError, match="unknown ANSM preset"):
        load_ansm(saved, into="smal")


def test_weights_do_not_go_into_a_module_of_the_users_own(
    saved: Path, tiny: nn.Module, tiny_spec: LocalizerSpec
) -> None:
    with pytest.raises(WeightsError, match="cannot be loaded into a Conv2d"):
        wrap_with_ansm(tiny, str(saved), ansm=nn.Conv2d(3, 3, 1), spec=tiny_spec)
