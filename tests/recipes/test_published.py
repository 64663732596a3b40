"""The published localizers and ANSMs of the proof load, belong together and match their cards."""

from __future__ import annotations

import warnings

import pytest
import torch

from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER
from ansm_plugin.commands.loading import load_defended
from ansm_plugin.weights.tensors import read_metadata
from lab.publish import NAMES, RESULTS, WEIGHTS, card
from lab.tables import Result

# The sdist has the cards without the weights.
ROWS = sorted(
    p.stem for p in WEIGHTS.glob("*.md")
    if p.with_suffix(".safetensors").exists() and (RESULTS / f"truth-{p.stem}.json").exists()
)  # fmt: skip
MEGABYTES = 46  # five pairs, four modules before the embedded localizer, two adapters to it

pytestmark = pytest.mark.skipif(not ROWS, reason="the sdist has no published weights")


@pytest.mark.parametrize("row", ROWS)
def test_a_pair_belongs_together(row: str) -> None:
    name = f"{NAMES[row.partition('-')[2]]}@{WEIGHTS / f'{row}.safetensors'}"
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # an ANSM of another localizer warns
        defended = load_defended(name, WEIGHTS / f"{row}-ansm.safetensors")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(defended(images), defended.localizer(images))


def test_the_hardened_module_belongs_to_the_embedded_localizer() -> None:
    path = WEIGHTS / "forensic-unet-hardened-overwrites.safetensors"
    assert read_metadata(path)["stage"] == "hardened"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_defended(DEFAULT_LOCALIZER, path)


@pytest.mark.parametrize("pair", ["forensic-unet-tuned", "forensic-unet-tuned-overwrites"])
def test_a_tuned_pair_belongs_together(pair: str) -> None:
    adapter = WEIGHTS / f"{pair}-adapter.safetensors"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_defended(f"{DEFAULT_LOCALIZER}@{adapter}", WEIGHTS / f"{pair}.safetensors")


@pytest.mark.parametrize("row", ROWS)
def test_the_card_says_what_was_measured(row: str) -> None:
    result = Result(RESULTS / f"truth-{row}.json")
    assert (WEIGHTS / f"{row}.md").read_text() == card(row)
    assert result.evaluation.localizer.partition("@")[0] == NAMES[row.partition("-")[2]]


def test_all_files_stay_small_and_name_no_machine() -> None:
    files = [path for path in WEIGHTS.iterdir() if path.is_file()]  # pip leaves folders there
    assert sum(path.stat().st_size for path in files) <= MEGABYTES * 1e6
    for path in files:
        is_binary = path.suffix == ".safetensors"
        said = str(read_metadata(path)) if is_binary else path.read_text()
        assert '"/' not in said.replace("\\", ""), path.name
