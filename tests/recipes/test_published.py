"""The published localizers and ANSMs of the proof load, belong together and match their cards."""

from __future__ import annotations

import importlib.util
import sys
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import torch

from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER
from ansm_plugin.commands.models import load_defended
from ansm_plugin.weights.tensors import read_metadata

RECIPES = Path(__file__).parents[2] / "recipes"
WEIGHTS = RECIPES / "weights"
ROWS = sorted(path.stem for path in WEIGHTS.glob("*.md"))
MEGABYTES = 40

pytestmark = pytest.mark.skipif(not ROWS, reason="the sdist has no published weights")


@pytest.fixture
def proof(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return `publish.py`, which imports the script beside it."""
    monkeypatch.syspath_prepend(RECIPES / "proof")
    spec = importlib.util.spec_from_file_location("publish", RECIPES / "proof" / "publish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "publish", module)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("row", ROWS)
def test_a_pair_belongs_together(row: str, proof: ModuleType) -> None:
    name = f"{proof.NAMES[row.partition('-')[2]]}@{WEIGHTS / f'{row}.safetensors'}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an ANSM of another localizer warns
        defended = load_defended(name, WEIGHTS / f"{row}-ansm.safetensors")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(defended(images), defended.localizer(images))


def test_the_hardened_module_belongs_to_the_embedded_localizer() -> None:
    path = WEIGHTS / "forensic-unet-hardened.safetensors"
    assert read_metadata(path)["stage"] == "hardened"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_defended(DEFAULT_LOCALIZER, path)


def test_the_tuned_pair_belongs_together() -> None:
    adapter = WEIGHTS / "forensic-unet-tuned-adapter.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_defended(f"{DEFAULT_LOCALIZER}@{adapter}", WEIGHTS / "forensic-unet-tuned.safetensors")


@pytest.mark.parametrize("row", ROWS)
def test_the_card_says_what_was_measured(row: str, proof: ModuleType) -> None:
    result = proof.Result(RECIPES / "results" / f"{row}.json")
    assert (WEIGHTS / f"{row}.md").read_text() == proof.card(row, result)
    assert result.fields["localizer"].partition("@")[0] == proof.NAMES[row.partition("-")[2]]


def test_all_files_stay_small_and_name_no_machine() -> None:
    files = list(WEIGHTS.iterdir())
    assert sum(path.stat().st_size for path in files) <= MEGABYTES * 1e6
    for path in files:
        is_binary = path.suffix == ".safetensors"
        said = str(read_metadata(path)) if is_binary else path.read_text()
        assert '"/' not in said.replace("\\", ""), path.name
