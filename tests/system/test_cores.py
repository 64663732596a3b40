"""Work is shared among the processors that this process may use, not all that there are."""

from __future__ import annotations

import os

import pytest

from ansm_plugin.system.cores import cores


def test_processors_that_are_not_ours_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 208)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3, 7}, raising=False)
    assert cores() == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    assert cores() == 208
