"""Weights with provenance: whole or not at all, never a pickle, never silently wrong."""

from __future__ import annotations

import copy
import io
import json
import pickle
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import ConfigError, WeightsError
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
    load_strictly,
    read_metadata,
    sha256_of,
    write_tensors,
)

THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
WHOLE = Provenance(
    stage="mgr",
    localizer={"family": "plain", "class": "Conv2d", "sha256": "ab", "also": "cd"},
    normalisation={"mean": [0.5, 0.4, 0.3], "std": [1.0, 1.0, 1.0], "source": "explicit"},
    recipe={"data": {"count": 3}, "also": []},
    metrics={"f1": 0.5},
    parent="ef",
)
SCORE = AttackScore(weights=(0.5,) * len(FEATURES), bias=-1.0)


def trained() -> ANSM:
    """Return a module that is not the identity."""
    ansm = ANSM(THIN)
    nn.init.normal_(ansm.trunk.head.weight)
    return ansm.eval()


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return save_ansm(trained(), tmp_path / "ansm.safetensors")


def rewritten(saved: Path, **metadata: str) -> Path:
    """Return a copy of a file with other metadata."""
    path = saved.with_name("rewritten.safetensors")
    save_file(load_file(saved), path, metadata={**read_metadata(saved), **metadata})
    return path


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


# --- files that are not what they should be -------------------------------------------------------


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
