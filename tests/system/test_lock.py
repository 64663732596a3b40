"""The lock of an output folder: taken once, given back, never written through a planted link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.lock import LOCK, only_run_in


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_planted_link_leaves_the_file_behind_it_alone(link: object, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "out"
    victim.write_text("precious")
    folder.mkdir()
    link(victim, folder / LOCK)  # type: ignore[operator]
    with pytest.raises(ConfigError, match="is a link or no plain file"), only_run_in(folder):
        raise AssertionError("the lock was taken")
    assert victim.read_text() == "precious"


def test_a_dangling_link_makes_no_file(tmp_path: Path) -> None:
    (tmp_path / LOCK).symlink_to(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="is a link"), only_run_in(tmp_path):
        raise AssertionError("the lock was taken")
    assert not (tmp_path / "nowhere").exists()


def test_a_planted_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / LOCK)
    with pytest.raises(ConfigError, match="no plain file"), only_run_in(tmp_path):
        raise AssertionError("the lock was taken")


def test_the_lock_is_ours_meanwhile_and_goes(tmp_path: Path) -> None:
    with only_run_in(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    assert not (tmp_path / LOCK).exists()


def test_a_folder_is_free_again_after_its_run(tmp_path: Path) -> None:
    (tmp_path / ".weights.safetensors.abcd_123.part").touch()  # of a killed run
    with only_run_in(tmp_path):
        assert [p.name for p in tmp_path.iterdir()] == [LOCK]
        with pytest.raises(ConfigError, match=rf"process {os.getpid()} on"), only_run_in(tmp_path):
            pass
    with only_run_in(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_refused_run_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError), only_run_in(tmp_path / "new"):
        raise ConfigError("no such attack")
    assert not (tmp_path / "new").exists()
    with only_run_in(None):
        pass
