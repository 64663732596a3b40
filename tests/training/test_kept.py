"""Crops that took long to make: kept once, read as they were made, made anew where they differ."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.image_files import pairs_in, photograph, saved, square

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import Forgeries, ForgeryConfig
from ansm_plugin.errors import WeightsError
from ansm_plugin.system.processes import Processes
from ansm_plugin.training import kept
from ansm_plugin.training.kept import kept_crops, sources


@pytest.fixture(autouse=True)
def _worthwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every crop be worth its room, two in a file."""
    monkeypatch.setattr(kept, "WORTHWHILE", 0.0)
    monkeypatch.setattr(kept, "_SHARD", 2)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[DataConfig]:
    """Return the configs whose crops were made."""
    configs: list[DataConfig] = []

    def counted(config: DataConfig, *rest: Any) -> Forgeries:
        configs.append(config)
        return load_crops(config, *rest)

    monkeypatch.setattr(kept, "load_crops", counted)
    return configs


def config(folder: Path, **changes: Any) -> DataConfig:
    """Return a config of five crops of pairs, which lie in memory as photographs do."""
    images, masks = pairs_in(folder, "a b", "a b")
    return DataConfig(
        images=images, masks=masks, count=5, forgeries=ForgeryConfig(size=32), **changes
    )


def assert_same(one: Forgeries, other: Forgeries) -> None:
    """Compare values and the order of memory, which decides last bits."""
    for name in ("images", "masks", "hosts"):
        a, b = getattr(one, name), getattr(other, name)
        assert torch.equal(a, b)
        assert (a.stride(), a.dtype) == (b.stride(), b.dtype)


def files(folder: Path) -> list[str]:
    """Return what is kept."""
    return sorted(path.name for path in (folder / "crops").glob("*"))


@pytest.mark.parametrize("has_masks", [True, False])
def test_crops_are_read_as_they_were_made(
    tmp_path: Path, made: list[DataConfig], has_masks: bool
) -> None:
    data = config(tmp_path)
    data = data if has_masks else replace(data, masks=None)
    told: list[tuple[str, int, int]] = []
    first = kept_crops(data, tmp_path, lambda *said: told.append(said[:3]))
    assert told[-3:] == [("keeping crops", n, 3) for n in (1, 2, 3)]
    told.clear()
    again = kept_crops(data, tmp_path, lambda *said: told.append(said[:3]))
    assert told == [("reading kept crops", n, 3) for n in (1, 2, 3)]
    assert len(made) == 1
    assert_same(first, again)
    assert_same(first, load_crops(data))


@pytest.mark.parametrize(("name", "value"), [("WORTHWHILE", 1e6), ("MOST", 5 * 4 * 32 * 32 - 1)])
def test_what_is_soon_made_or_large_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: float
) -> None:
    monkeypatch.setattr(kept, name, value)
    kept_crops(config(tmp_path), tmp_path)
    assert not files(tmp_path)


def touched(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    assert data.masks is not None
    os.utime(data.masks / "b.png", ns=(1, 1))
    return data


def added(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    assert data.images is not None
    assert data.masks is not None
    saved(data.images / "c.png", photograph())
    saved(data.masks / "c.png", square())
    return data


def fewer(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    return replace(data, count=3)


def other_version(data: DataConfig, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    monkeypatch.setattr(kept, "version", lambda name: "0")
    return data


@pytest.mark.parametrize("change", [touched, added, fewer, other_version])
def test_whatever_decides_crops_has_them_made_anew(
    tmp_path: Path,
    made: list[DataConfig],
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[DataConfig, pytest.MonkeyPatch], DataConfig],
) -> None:
    data = config(tmp_path)
    kept_crops(data, tmp_path)
    data = change(data, monkeypatch)
    found = kept_crops(data, tmp_path)
    assert len(made) == 2
    assert_same(found, load_crops(data))
    assert len(files(tmp_path)) == -(-data.count // 2)  # none of the earlier ones is left


@pytest.mark.parametrize("at", [20, -1])
def test_a_damaged_file_is_said_and_made_again(
    tmp_path: Path, made: list[DataConfig], at: int
) -> None:
    """Its names no less than its pixels."""
    data = config(tmp_path)
    whole = kept_crops(data, tmp_path)
    path = tmp_path / "crops" / "crops-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[at] ^= 255
    path.write_bytes(content)
    with pytest.warns(UserWarning, match=r"crops-00001\.safetensors is damaged"):
        assert_same(kept_crops(data, tmp_path), whole)
    assert_same(kept_crops(data, tmp_path), whole)
    path.unlink()  # as after a kill between two files
    assert_same(kept_crops(data, tmp_path), whole)
    assert len(made) == 3


def test_a_disk_without_room_stops_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = kept.write_tensors

    def full(tensors: Any, path: Path, metadata: Any) -> Path:
        if path.name == "crops-00001.safetensors":
            raise WeightsError(f"cannot write {path}: no space left.")
        return write(tensors, path, metadata)

    monkeypatch.setattr(kept, "write_tensors", full)
    data = config(tmp_path)
    with pytest.warns(UserWarning, match="crops were not kept"):
        found = kept_crops(data, tmp_path)
    assert_same(found, load_crops(data))
    assert not files(tmp_path)


class Second(Processes):
    """The second of two processes; the first one has done its part."""

    def once(self, work: Callable[[], object]) -> Any:
        """Leave the work to the first."""


def test_a_second_process_reads_what_the_first_has_kept(
    tmp_path: Path, made: list[DataConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = config(tmp_path)
    first = kept_crops(data, tmp_path)
    monkeypatch.setattr(kept, "processes", lambda: Second(1, 2))
    assert_same(kept_crops(data, tmp_path), first)
    assert len(made) == 1
    assert_same(kept_crops(data, tmp_path / "elsewhere"), first)
    assert len(made) == 2


def test_sources_are_all_files_that_crops_are_made_of(tmp_path: Path) -> None:
    data = config(tmp_path, mixed=(f"{tmp_path / 'bed'}:0.5",))
    pairs_in(tmp_path / "bed", "c", "c")
    names = ["a.jpg", "b.jpg", "a.png", "b.png", "c.jpg", "c.png"]
    assert [path.name for path in sources(data)] == names
    listed = tmp_path / "list.json"
    listed.write_text('[["images/a.jpg", "masks/a.png"], ["images/b.jpg", "Negative"]]')
    only = replace(data, images=listed, masks=None, mixed=())
    assert [path.name for path in sources(only)] == ["a.jpg", "a.png", "b.jpg"]
    labels = tmp_path / "labels"
    saved(labels / "a.png", np.ones((4, 4), np.uint8))
    labelled = replace(
        DataConfig(style="photographic"),
        photographic=replace(DataConfig().photographic, labels=labels),
    )
    assert [path.name for path in sources(labelled)] == ["a.png"]
    assert not [*sources(replace(labelled, style="planted"))]
