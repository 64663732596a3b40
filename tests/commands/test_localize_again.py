"""`ansm localize` where results lie already: replaced if asked, or gone on with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.bright import photograph
from support.localize_album import localize, numbers

from ansm_plugin.cli import main
from ansm_plugin.errors import LocalizerError
from ansm_plugin.photograph import localize_image

Capture = pytest.CaptureFixture[str]


def times(album: Path) -> dict[str, int]:
    """Return when each mask was written."""
    return {p.name: p.stat().st_mtime_ns for p in (album.parent / "out").glob("*-mask.png")}


def test_earlier_results_are_replaced_with_force_alone(album: Path, capsys: Capture) -> None:
    localize(album)
    before = times(album)
    capsys.readouterr()
    assert localize(album) == 2
    said = capsys.readouterr().err
    assert "holds earlier results: index.html, localized.jsonl, a-mask.png and" in said
    assert "--resume" in said
    assert "--force" in said
    assert times(album) == before
    assert localize(album, "--resume", "--force") == 2
    assert "choose one" in capsys.readouterr().err
    localize(album, "--force")
    assert all(after > before[name] for name, after in times(album).items())


def test_resume_computes_what_is_missing_or_changed_alone(album: Path) -> None:
    first = numbers(album)
    before = times(album)
    Image.fromarray(photograph(64, 96, 9)).save(album / "c.png")
    (album.parent / "out" / "b-overlay.png").unlink()
    Image.fromarray(photograph(64, 96, 10)).save(album / "e.png")
    second = numbers(album, "--resume")
    written = {name for name, time in times(album).items() if time != before.get(name)}
    assert written == {"b-mask.png", "c-mask.png", "e-mask.png"}
    assert second["photographs"][0] == first["photographs"][0]
    assert [Path(p["file"]).name for p in second["photographs"]] == [
        "a.png", "b.jpg", "c.png", "e.png"
    ]  # fmt: skip


def test_resume_with_other_options_is_refused_and_names_them(album: Path, capsys: Capture) -> None:
    localize(album)
    before = times(album)
    capsys.readouterr()
    assert localize(album, "--resume", "--threshold", "0.7") == 2
    assert "threshold is 0.5 there and 0.7 now" in capsys.readouterr().err
    assert times(album) == before


def test_a_damaged_line_of_the_records_is_done_again(album: Path) -> None:
    localize(album)
    before = times(album)
    records = album.parent / "out" / "localized.jsonl"
    lines = records.read_text().splitlines()
    damaged = json.loads(lines[1]) | {"record": {"file": 3}}
    records.write_text("\n".join([lines[0], json.dumps(damaged), lines[2][:40]]))
    localize(album, "--resume")
    assert {n for n, t in times(album).items() if t != before[n]} == {"b-mask.png", "c-mask.png"}


def test_ctrl_c_keeps_what_is_finished(
    album: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    calls = []

    def stopped(*given: Any, **options: Any) -> Any:
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return localize_image(*given, **options)

    monkeypatch.setattr("ansm_plugin.commands.localized.localize_image", stopped)
    assert localize(album) == 130
    assert "--resume" in capsys.readouterr().err
    assert set(times(album)) == {"a-mask.png", "b-mask.png"}
    localize(album, "--resume")
    assert len(calls) == 4
    assert set(times(album)) == {"a-mask.png", "b-mask.png", "c-mask.png"}


def test_one_failure_while_computing_loses_no_other(
    album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def picky(*given: Any, **options: Any) -> Any:
        if given[2][0, 0, 0] == photograph(64, 96, 0)[0, 0, 0]:
            raise LocalizerError("it does not like this one")
        return localize_image(*given, **options)

    monkeypatch.setattr("ansm_plugin.commands.localized.localize_image", picky)
    found = numbers(album)
    assert [Path(p["file"]).name for p in found["photographs"]] == ["b.jpg", "c.png"]
    a, _ = found["failed"]
    assert a["error"] == "it does not like this one"
    assert a["width"] == 96  # what was found before stays


SLOW = """import time
from support.bright import bright as quick
def slow():
    model = quick()
    model.register_forward_hook(lambda *_: time.sleep(0.3))
    return model
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_killed_run_goes_on(album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (album.parent / "slow_code.py").write_text(SLOW)
    output = album.parent / "out"
    arguments = ["localize", str(album), "--output", str(output), "--no-page", "--bare"]
    arguments += ["--localizer", "slow_code:slow"]
    code = f"from ansm_plugin.cli import main; main({arguments!r})"
    where = {"PYTHONPATH": os.pathsep.join([str(album.parent), *sys.path])}
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **where})
    records, deadline = output / "localized.jsonl", time.monotonic() + 240  # of a busy machine
    while not (records.exists() and records.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    before = times(album)
    assert "a-mask.png" in before
    monkeypatch.syspath_prepend(album.parent)
    assert main([*arguments, "--resume"]) == 2  # one is damaged
    after = times(album)
    assert set(after) == {"a-mask.png", "b-mask.png", "c-mask.png"}
    assert after["a-mask.png"] == before["a-mask.png"]
    assert not list(output.rglob("*.part"))
