"""Files that are no checkpoint of tensors alone: named for what they are, with what to do."""

from __future__ import annotations

import io
import pickle
import tarfile
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors
from support.checkpoints import *  # noqa: F403 - fixtures, found by their names
from support.checkpoints import FORMS
from torch import nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.convert import convert_checkpoint


def test_extra_state_is_dropped(source: Path, target: Path) -> None:
    extra = types.SimpleNamespace(scale=torch.ones(2))
    torch.save({"a.weight": torch.ones(1), "a._extra_state": extra}, source)
    done = convert_checkpoint(source, target)
    assert (done.kept, done.dropped) == (("a.weight",), ("a._extra_state",))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["", "model"])
def test_a_model_that_was_pickled_whole_is_refused_with_words(
    form: str, place: str, source: Path, target: Path
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    torch.save({place: model} if place else model, source, **FORMS[form])
    match = r"whole object .*Sequential.*state_dict\(\)"
    with pytest.raises(WeightsError, match=match):
        convert_checkpoint(source, target)


def test_a_whole_model_beside_a_state_is_left_out(source: Path, target: Path) -> None:
    model = nn.Linear(2, 2)
    torch.save({"model": model, "state_dict": model.state_dict()}, source)
    done = convert_checkpoint(source, target)
    assert done.place == ("state_dict",)
    assert "torch.nn.modules.linear.Linear" in done.made


def script() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), stream)
    return stream.getvalue()


def archive(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("model.pth"))
    else:
        with zipfile.ZipFile(stream, "w") as other:
            other.writestr("readme.txt", "hello")
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (script, "TorchScript archive"),
        (lambda: archive("tar"), "tar archive; unpack it"),
        (lambda: archive("zip"), r"zip of other files \(readme\.txt\)"),
        (lambda: save_safetensors({"a": torch.ones(1)}), "safetensors already, under another name"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (lambda: b"\n<!DOCTYPE html><html>", "web page"),
        (lambda: b"\x1f\x8b\x08\x00", "gunzip"),
        (lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
        (lambda: pickle.dumps({"w": np.ones(2)}), "Arrays of numpy are no tensors"),
    ],
    ids=["script", "tar", "zip", "safetensors", "lfs", "html", "gzip", "hdf5", "numpy"],
)
def test_other_kinds_of_files_are_named(
    content: Any, words: str, source: Path, target: Path
) -> None:
    source.write_bytes(content())
    with pytest.raises(WeightsError, match=words):
        convert_checkpoint(source, target)
    assert not target.exists()


def test_a_folder_is_named(tmp_path: Path, target: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder"):
        convert_checkpoint(tmp_path, target)
