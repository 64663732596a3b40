"""Checkpoints become safetensors: what is kept, what is dropped, and nothing is ever executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.checkpoints import *  # noqa: F403 - fixtures, found by their names
from support.checkpoints import Call
from torch import nn

from ansm_plugin.cli import main
from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.convert import convert_checkpoint


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).state_dict()


def assert_same(target: Path, state: dict[str, torch.Tensor]) -> None:
    """Compare names and bits."""
    written = load_file(str(target))
    assert written.keys() == state.keys()
    assert all(torch.equal(written[name], state[name]) for name in state)


@pytest.mark.parametrize("place", [(), ("state_dict",), ("model",), ("net",), ("ema", "module")])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.module.", "model."])
def test_the_state_is_found_and_wrappers_prefixes_are_stripped(
    place: tuple[str, ...],
    prefix: str,
    source: Path,
    target: Path,
    state: dict[str, torch.Tensor],
) -> None:
    checkpoint: dict[str, object] = {prefix + name: value for name, value in state.items()}
    for key in reversed(place):
        checkpoint = {key: checkpoint, "epoch": 3}
    torch.save(checkpoint, source)
    done = convert_checkpoint(source, target)
    assert (done.place, done.prefix) == (place, prefix)
    assert done.kept == tuple(state)
    assert done.beside == ("epoch",) * len(place)
    assert_same(target, state)


def test_values_without_a_tensor_are_dropped_and_named(
    source: Path,
    target: Path,
    state: dict[str, torch.Tensor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    torch.save({"state_dict": {**state, "note": "best"}, "optimizer": {}, "epoch": 7}, source)
    assert main(["convert", str(source), str(target)]) == 0
    said = capsys.readouterr().out
    assert "kept     7 tensors" in said
    assert "1 values without a tensor: note" in said
    assert "2 entries beside the model: optimizer, epoch" in said
    assert_same(target, state)


def test_lone_tensors_beside_a_nested_state_are_dropped(
    source: Path, target: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save({"step": torch.tensor(3), "model": {"name": "x"}, "net": dict(state)}, source)
    done = convert_checkpoint(source, target)
    assert done.place == ("net",)
    assert done.beside == ("step", "model")
    assert_same(target, state)


def test_tensors_that_share_memory_are_written_apart(source: Path, target: Path) -> None:
    shared = torch.arange(6.0)
    torch.save({"a": shared, "b": shared, "c": shared[2:]}, source)
    convert_checkpoint(source, target)
    assert_same(target, {"a": shared, "b": shared, "c": shared[2:]})


def test_the_result_says_that_it_is_a_localizer(
    source: Path, target: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, source)
    convert_checkpoint(source, target)
    with safe_open(str(target), framework="pt") as handle:
        assert handle.metadata() == {"format": "localizer", "source": "old.pth"}


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_a_file_that_needs_code_is_refused_and_never_run(
    writer: str,
    source: Path,
    target: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trap = tmp_path / "executed"
    checkpoint = {"state_dict": {"w": torch.ones(2)}, "args": Call(Path.touch, trap)}
    if writer == "torch":
        torch.save(checkpoint, source)
    else:
        source.write_bytes(pickle.dumps(checkpoint, protocol=2))
    assert main(["convert", str(source), str(target)]) == 2
    said = capsys.readouterr().err
    assert "nothing of it was run" in said
    assert not trap.exists()
    assert not target.exists()


def test_an_existing_target_is_kept_unless_forced(
    source: Path, target: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, source)
    target.write_text("precious")
    with pytest.raises(WeightsError, match="--force"):
        convert_checkpoint(source, target)
    assert target.read_text() == "precious"
    convert_checkpoint(source, target, force=True)
    assert_same(target, state)


def test_a_checkpoint_without_tensors_says_what_it_holds(source: Path, target: Path) -> None:
    torch.save({"epoch": 1, "config": {"lr": 0.1}}, source)
    with pytest.raises(WeightsError, match=r"no tensors found .*epoch"):
        convert_checkpoint(source, target)


@pytest.mark.parametrize(
    "content", [b"", b"hello, this is text\n", b"PK\x03\x04 cut", b"\x80\x02}"]
)
def test_damaged_and_foreign_files_are_refused(content: bytes, source: Path, target: Path) -> None:
    source.write_bytes(content)
    with pytest.raises(WeightsError, match=r"old\.pth"):
        convert_checkpoint(source, target)
    assert not target.exists()


def test_a_truncated_checkpoint_is_refused(
    source: Path, target: Path, state: dict[str, torch.Tensor]
) -> None:
    torch.save(state, source)
    whole = source.read_bytes()
    source.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError, match=r"old\.pth"):
        convert_checkpoint(source, target)


def test_names_that_make_no_sense_are_refused(tmp_path: Path, source: Path, target: Path) -> None:
    with pytest.raises(WeightsError, match="no checkpoint"):
        convert_checkpoint(source, target)
    target.touch()
    with pytest.raises(WeightsError, match="safetensors already"):
        convert_checkpoint(target, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"must end in \.safetensors"):
        convert_checkpoint(source, tmp_path / "out.pth")


def test_a_full_disk_leaves_nothing_behind(
    source: Path,
    target: Path,
    state: dict[str, torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    torch.save(state, source)
    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(WeightsError, match="No space left"):
        convert_checkpoint(source, target)
    assert [p.name for p in source.parent.iterdir()] == [source.name]
