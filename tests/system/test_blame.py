"""Whose mistake an exception is."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ansm_plugin.recipes.config import load_config
from ansm_plugin.system.blame import culprit
from ansm_plugin.training.config import FitConfig

CODE = """
import json, torch
from torch import nn

class Model(nn.Module):
    def forward(self, x):
        return x.nothing

def own(x=0):
    return 1 / x

def through_torch():
    return torch.zeros(2) @ torch.zeros(3)

def through_json():
    return json.loads("{")

def through_ours():
    from ansm_plugin.recipes.config import load_config
    return load_config(1, 2)

def forward():
    return Model()(torch.zeros(1))

def leave():
    raise SystemExit(0)

lambda_in_a_comprehension = lambda: [1 / n for n in (1, 0)]
"""


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a module of somebody else and return its file."""
    file = tmp_path / "somebody_else.py"
    file.write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("somebody_else", None)
    return file


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "name",
    ["own", "through_torch", "through_json", "forward", "leave", "lambda_in_a_comprehension"],
)
def test_other_code_is_named_by_its_file_and_line(name: str, theirs: Path) -> None:
    function = getattr(importlib.import_module("somebody_else"), name)
    found = culprit(raised(function))
    assert found is not None
    assert (found.file, found.package) == (str(theirs), "somebody_else")
    line = CODE.splitlines()[found.line - 1]
    assert any(word in line for word in ("1 /", "torch.zeros", "loads", "x.nothing", "SystemExit"))
    assert str(found) == f"{theirs}:{found.line} of somebody_else"


def test_code_that_cannot_be_read_is_named(theirs: Path) -> None:
    theirs.write_text("x = 1\ndef build(:\n")
    found = culprit(raised(lambda: importlib.import_module("somebody_else")))
    assert found is not None
    assert (found.file, found.line) == (str(theirs), 2)


def test_what_ours_raises_is_ours_also_when_others_called_it(theirs: Path) -> None:
    function = importlib.import_module("somebody_else").through_ours
    assert culprit(raised(function)) is None
    assert culprit(raised(lambda: load_config(FitConfig, 3))) is None  # type: ignore[arg-type]


def test_an_installed_package_is_named_with_its_version() -> None:
    from segmentation_models_pytorch.encoders import get_encoder

    found = culprit(raised(lambda: get_encoder("nothing")))
    assert found is not None
    assert found.package.startswith("segmentation_models_pytorch ") or found.package.startswith(
        "segmentation-models-pytorch "
    )


def test_an_error_without_a_traceback_is_nobody_s() -> None:
    assert culprit(ValueError()) is None
    assert culprit(SyntaxError("made up")) is None


def test_tools_are_not_to_blame() -> None:
    """Whoever calls torch or the standard library wrongly is; here that is this test."""
    for call in (lambda: torch.zeros(2) @ torch.zeros(3), lambda: json.loads("{")):
        found = culprit(raised(call))
        assert found is not None
        assert found.file == __file__
