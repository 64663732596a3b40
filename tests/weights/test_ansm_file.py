"""Weights with provenance: read as they were written, for their localizer, whole or not at all."""

from __future__ import annotations

import copy
import io
import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.ansm_files import *  # noqa: F403 - fixtures, found by their names
from support.ansm_files import THIN, rewritten, trained
from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import WeightsError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights import tensors
from ansm_plugin.weights.ansm_file import (
    FORMAT_VERSION,
    AnsmFile,
    Provenance,
    identify,
    load_ansm,
    read_provenance,
    save_ansm,
)
from ansm_plugin.weights.tensors import (
    load_localizer_weights,
    read_metadata,
    sha256_of,
    write_tensors,
)

WHOLE = Provenance(
    stage="mgr",
    localizer={"family": "plain", "class": "Conv2d", "sha256": "ab", "also": "cd"},
    normalisation={"mean": [0.5, 0.4, 0.3], "std": [1.0, 1.0, 1.0], "source": "explicit"},
    recipe={"data": {"count": 3}, "also": []},
    metrics={"f1": 0.5},
    parent="ef",
)
SCORE = AttackScore(weights=(0.5,) * len(FEATURES), bias=-1.0)

# --- round trip -----------------------------------------------------------------------------------


def test_round_trip_keeps_architecture_tensors_and_output(tmp_path: Path) -> None:
    ansm, images = trained(), torch.rand(1, 3, 9, 9)
    loaded = load_ansm(save_ansm(ansm, tmp_path / "deep" / "er" / "a.safetensors"))
    assert loaded.architecture == ansm.architecture
    assert not loaded.training
    assert torch.equal(loaded(images), ansm(images))


def test_channels_last_modules_are_saved(tmp_path: Path) -> None:
    ansm = trained()
    path = save_ansm(copy.deepcopy(ansm).to(memory_format=torch.channels_last), tmp_path / "a")
    assert all(torch.equal(load_file(path)[k], v) for k, v in ansm.state_dict().items())


def test_provenance_is_written_as_json(tmp_path: Path, tiny: nn.Module) -> None:
    localizer = identify(tiny, LocalizerSpec())
    origin = Provenance(
        stage="mgr",
        localizer=localizer,
        recipe={"path": Path("x")},
        metrics={"f1": 0.5},
        parent="p",
    )
    metadata = read_metadata(save_ansm(trained(), tmp_path / "a.safetensors", origin))
    assert metadata["format"] == "ansm"
    assert metadata["format_version"] == str(FORMAT_VERSION)
    assert metadata["stage"] == "mgr"
    assert json.loads(metadata["localizer"]) == {
        "family": "plain", "class": "TinyLocalizer", "sha256": fingerprint(tiny),
    }  # fmt: skip
    assert json.loads(metadata["recipe"]) == {"path": "x"}
    assert json.loads(metadata["metrics"]) == {"f1": 0.5}
    assert json.loads(metadata["parent"]) == "p"


def test_the_file_holds_the_tensors_of_the_ansm_alone(saved: Path) -> None:
    assert load_file(saved).keys() == ANSM(THIN).state_dict().keys()


def test_sha256_names_the_file(saved: Path) -> None:
    assert len(sha256_of(saved)) == 64
    assert sha256_of(rewritten(saved, stage="other")) != sha256_of(saved)


def test_loading_into_a_module_fills_it_in_place(saved: Path) -> None:
    ansm = ANSM(THIN)
    assert load_ansm(saved, into=ansm) is ansm
    assert not ansm.is_identity


def test_all_of_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    file = AnsmFile(ansm=trained(), provenance=WHOLE, score=SCORE, others={"note": "kept"})
    again = AnsmFile.read(file.write(tmp_path / "a.safetensors"))
    assert (again.provenance, again.score, again.others) == (WHOLE, SCORE, {"note": "kept"})
    assert again.path == tmp_path / "a.safetensors"
    assert read_provenance(tmp_path / "a.safetensors") == WHOLE
    assert all(
        torch.equal(v, file.ansm.state_dict()[k]) for k, v in again.ansm.state_dict().items()
    )
    again.write(tmp_path / "b.safetensors")
    assert sha256_of(tmp_path / "b.safetensors") == sha256_of(tmp_path / "a.safetensors")


def test_a_file_in_half_precision_stays_one(saved: Path, tmp_path: Path) -> None:
    half = {k: v.half() for k, v in load_file(saved).items()}
    write_tensors(half, saved, read_metadata(saved))
    file = AnsmFile.read(saved)
    assert {p.dtype for p in file.ansm.parameters()} == {torch.float32}
    replace(file, score=SCORE).write(tmp_path / "scored.safetensors")
    written = load_file(tmp_path / "scored.safetensors")
    assert all(torch.equal(written[k], v) for k, v in half.items())


def test_a_file_is_opened_once(
    saved: Path, tiny: nn.Module, tiny_spec: LocalizerSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    plain, native = io.open, tensors.safe_open
    monkeypatch.setattr(
        io,
        "open",
        lambda file, *given, **more: opened.append(str(file)) or plain(file, *given, **more),
    )
    monkeypatch.setattr(
        tensors, "safe_open", lambda file, **more: opened.append(file) or native(file, **more)
    )
    wrap_with_ansm(tiny, str(saved), spec=tiny_spec)
    assert opened == [str(saved)]
    read_provenance(saved)
    assert opened == [str(saved)] * 2


# --- the localizer it was trained for -------------------------------------------------------------


def test_the_localizer_it_was_trained_for_is_silent(
    tmp_path: Path, tiny: nn.Module, tiny_spec: LocalizerSpec
) -> None:
    origin = Provenance(localizer=identify(tiny, tiny_spec))
    path = save_ansm(trained(), tmp_path / "a.safetensors", origin)
    defended = wrap_with_ansm(tiny, str(path), spec=tiny_spec)
    assert defended.perturbation(torch.rand(1, 3, 8, 8)).any()


def test_another_localizer_is_a_warning_that_names_both(
    tmp_path: Path, tiny: nn.Module, tiny_spec: LocalizerSpec
) -> None:
    origin = Provenance(localizer=identify(nn.Linear(2, 2), tiny_spec))
    path = save_ansm(trained(), tmp_path / "a.safetensors", origin)
    given = fingerprint(tiny)[:12]
    with pytest.warns(UserWarning, match=f"trained for Linear.*given is TinyLocalizer.*{given}"):
        wrap_with_ansm(tiny, str(path), spec=tiny_spec)


@pytest.mark.parametrize(
    ("known", "state", "is_for"),
    [({}, "c", True), ({"sha256": "a"}, "a", True), ({"sha256": "a"}, "c", False),
     ({"sha256": "a", "also": "b c"}, "c", True), ({"sha256": "a", "also": "b c"}, "b c", False)],
)  # fmt: skip
def test_a_file_says_for_which_localizers_it_is(
    known: dict[str, str], state: str, is_for: bool
) -> None:
    file = AnsmFile(ansm=trained(), provenance=Provenance(localizer=known))
    assert file.is_for(state) == is_for


def test_localizer_weights_are_loaded_strictly(tmp_path: Path, tiny: nn.Module) -> None:
    path = write_tensors(tiny.state_dict(), tmp_path / "l.safetensors", {})
    twin = copy.deepcopy(tiny)
    nn.init.zeros_(twin.head.weight)  # type: ignore[union-attr, arg-type]
    load_localizer_weights(twin, path)
    assert fingerprint(twin) == fingerprint(tiny)
    with pytest.raises(WeightsError, match="does not fit Linear"):
        load_localizer_weights(nn.Linear(1, 1), path)


def test_half_precision_weights_are_widened(tmp_path: Path) -> None:
    linear = nn.Linear(2, 2)
    half = {k: v.half() for k, v in linear.state_dict().items()}
    load_localizer_weights(linear, write_tensors(half, tmp_path / "l.safetensors", {}))
    assert linear.weight.dtype == torch.float32
    assert torch.equal(linear.weight, half["weight"].float())


# --- nothing half-written -------------------------------------------------------------------------


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    with full_disk(500), pytest.raises(WeightsError, match="cannot write"):
        save_ansm(trained(), tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_keeps_the_file_that_was_there(saved: Path) -> None:
    before = saved.read_bytes()
    with full_disk(500), pytest.raises(WeightsError, match="Nothing was left half-written"):
        save_ansm(trained(), saved)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"cannot write .*file/a\.safetensors"):
        save_ansm(trained(), tmp_path / "file" / "a.safetensors")


def test_files_can_be_read_by_others(saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o644
