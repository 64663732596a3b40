"""The lock of an output folder: it never writes through what somebody else planted there."""

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
