"""Progress: a bar on a terminal, few lines elsewhere, silence of other processes."""

from __future__ import annotations

import pytest
from rich.console import Console

from ansm_plugin.commands.terminal import show_progress, summary

Capture = pytest.CaptureFixture[str]


def test_only_the_numbers_worth_watching_are_shown() -> None:
    assert summary({"gradient": 1.0, "saturated": 0.25, "loss": 0.123456}) == (
        "loss 0.1235  saturated 25.0%"
    )


def test_without_a_terminal_lines_are_few_and_end_with_the_last_step(capsys: Capture) -> None:
    with show_progress(Console()) as progress:
        for step in range(1, 101):
            progress("mgr", step, 100, {"loss": 1.0})
    assert capsys.readouterr().out.splitlines() == ["mgr 1/100  loss 1", "mgr 100/100  loss 1"]


def test_on_a_terminal_there_is_a_bar(capsys: Capture) -> None:
    with show_progress(Console(force_terminal=True, width=100)) as progress:
        progress("mgr", 40, 100, {"loss": 1.0})
    said = capsys.readouterr().out
    assert "40/100" in said
    assert "loss 1" in said


def test_other_processes_of_a_distributed_run_are_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("RANK", "1")
    with show_progress(Console()) as progress:
        progress("mgr", 1, 1, {})
    assert capsys.readouterr().out == ""
