"""Disks that are full, folders that are gone or shut, clocks that jump."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch import nn

from ansm_plugin.data.samples import Sample
from ansm_plugin.errors import AnsmError, ConfigError, WeightsError
from ansm_plugin.evaluation.attack_set import Victim, write_attacked
from ansm_plugin.evaluation.manifest import AttackPlan
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.files import write_whole
from ansm_plugin.system.lock import LOCK, only_run_in
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import StepOutput, Turn, fit

CONFIG = FitConfig(steps=6, warmup=0, checkpoint_every=2, precision="fp32")
CHECKPOINT = "toy.checkpoint.safetensors"


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def train(folder: Path, fail_after: int | None = None) -> nn.Module:
    """Train a line for six steps; from a step on, writing fails."""
    torch.manual_seed(0)
    module = nn.Linear(4, 1)
    done = 0

    def step(turn: Turn) -> StepOutput:
        nonlocal done
        done += 1
        if fail_after is not None and done > fail_after:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
        inputs = torch.randn(8, 4, generator=turn.generator)
        return StepOutput(module(inputs).square().mean(), {})

    fit("toy", module, step, CONFIG, folder=folder, identity={})
    return module


def test_a_disk_that_fills_keeps_the_last_checkpoint_and_the_run_goes_on(tmp_path: Path) -> None:
    expected = train(tmp_path / "all").state_dict()
    broken = tmp_path / "broken"
    with largest_file(2**30), pytest.raises(WeightsError, match=r"cannot write .*free space"):
        train(broken, fail_after=2)
    assert [p.name for p in broken.iterdir()] == [CHECKPOINT]
    found = train(broken).state_dict()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_a_folder_that_vanishes_is_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(folder)
    shutil.rmtree(folder)
    assert write_whole(folder / "deep" / "a.txt", lambda s: s.write(b"a")).read_bytes() == b"a"


def attack(folder: Path, images: torch.Tensor) -> None:
    """Write a set of two images."""
    torch.manual_seed(0)
    spec = LocalizerSpec(mean=(0.0,) * 3, std=(1.0,) * 3)
    masks = torch.zeros(2, 1, 16, 16)
    masks[..., 4:9, 4:9] = 1
    plan = AttackPlan(attacks=("pgd",), eps_255=(4,), steps=1)
    forward = mask_forward(nn.Conv2d(3, 1, 1), spec)
    write_attacked(Victim(forward, {}), [Sample(images, masks, ("a", "b"))], plan, folder)


def test_an_attack_on_a_full_disk_says_so_and_goes_on(tmp_path: Path) -> None:
    images = torch.rand(2, 3, 16, 16)
    attack(tmp_path / "all", images)
    with largest_file(300), pytest.raises(ConfigError, match=r"cannot write .*free space"):
        attack(tmp_path / "full", images)
    attack(tmp_path / "full", images)
    for path in (tmp_path / "all" / "Tp").iterdir():
        assert (tmp_path / "full" / "Tp" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_folder_that_takes_no_files_is_named(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(ConfigError, match=rf"a\.txt: {os.strerror(code)}"):
        write_whole(tmp_path / "a.txt", lambda stream: stream.write(b"a"))
    with pytest.raises(AnsmError, match=os.strerror(code)), only_run_in(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_file_is_on_the_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    sync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (order.append("sync"), sync(handle))[1])
    monkeypatch.setattr(
        Path, "replace", lambda self, to: (order.append("rename"), replace(self, to))[1]
    )
    write_whole(tmp_path / "a.txt", lambda stream: stream.write(b"a"))
    assert order == ["sync", "rename"]


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = train(tmp_path / "steady").state_dict()
    times = iter(range(10**9, -(10**9), -(10**6)))  # eleven days back at each look
    monkeypatch.setattr(time, "time", lambda: float(next(times)))
    found = train(tmp_path / "jumping").state_dict()
    assert all(torch.equal(expected[k], found[k]) for k in expected)


def test_the_lock_is_no_result(tmp_path: Path) -> None:
    with only_run_in(tmp_path):
        assert (tmp_path / LOCK).exists()
        attack(tmp_path, torch.rand(2, 3, 16, 16))  # not taken for a folder in use
    assert (tmp_path / "manifest.json").exists()
