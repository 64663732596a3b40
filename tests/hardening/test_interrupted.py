"""Runs that are ended at any moment: the same command goes on and ends as if nothing had been.

The normal suite ends a few; `pytest -m slow` ends each command 50 times by each signal, or as often
as ANSM_KILLS says.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image
from safetensors.torch import load_file
from support.forked_runs import *  # noqa: F403 - fixtures, found by their names
from support.forked_runs import Server, works

from ansm_plugin.system.lock import LOCK

LONG = int(os.environ.get("ANSM_KILLS", "50"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


class Reference(NamedTuple):
    """What the uninterrupted run left, and the seconds that it took."""

    files: dict[str, bytes]
    seconds: float


NAMES = ("localizer", "ffa", "mgr", "two-stage", "hardened", "attack", "evaluate")


@pytest.fixture(scope="module")
def references(server: Server) -> dict[str, Reference]:
    """Fill by `reference`: each uninterrupted run is made once."""
    return {}


def reference(name: str, server: Server, known: dict[str, Reference]) -> Reference:
    """Run a command without interruption, once."""
    if name == "mgr" and not (server.folder / "stage1").exists():
        work = works(server.folder)["ffa"]
        server.finish([*work.argv, "--output", str(server.folder / "stage1")])
    if name not in known:
        output = server.folder / f"reference-{name}"
        began = time.monotonic()
        server.finish([*works(server.folder)[name].argv, "--output", str(output)])
        known[name] = Reference(results(output), time.monotonic() - began)
    return known[name]


def results(folder: Path) -> dict[str, bytes]:
    """Return what matters of every file of a result, by its name."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.name == "evaluation.json":
            fields = json.loads(path.read_text())
            kept = {k: fields[k] for k in ("rows", "summary", "alarms")}  # cost is a time
            found[name] = json.dumps(kept).encode()
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines() if whole(line)]
            found[name] = "\n".join(sorted(json.dumps(line) for line in lines)).encode()
        elif path.suffix != ".html":
            found[name] = path.read_bytes()
    return found


def whole(line: str) -> bool:
    """Return whether a line of records is whole; a kill may cut the last one short."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def require_whole_files(folder: Path) -> None:
    """Open every file that goes by its final name."""
    for path in (p for p in folder.rglob("*") if p.is_file() and p.name[0] != "."):
        if path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()
        elif path.suffix == ".safetensors":
            load_file(str(path))
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".toml":
            tomllib.loads(path.read_text())
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            assert path.suffix == ".jsonl", path
            lines = path.read_text(errors="replace").splitlines()
            assert all(map(whole, lines[:-1])), path


def finished(name: str, folder: Path) -> dict[Path, int]:
    """Return the parts that need not be computed again, with the time of their files."""
    done = [*folder.rglob("attacked/*.safetensors")]
    if name == "two-stage":
        done += folder.rglob("ffa.safetensors")
    records = folder / "records.jsonl"
    if (folder / "Tp").exists() and records.exists():
        lines = [json.loads(s) for s in records.read_text().splitlines() if whole(s)]
        done += [folder / "Tp" / line["file"] for line in lines if "file" in line]
    return {path: path.stat().st_mtime_ns for path in done}


def require_no_repetition(folder: Path, kept: dict[Path, int]) -> None:
    """Compare the files that were finished before, and look for records that are there twice."""
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    if (records := folder / "records.jsonl").exists():
        lines = [json.loads(s) for s in records.read_text().splitlines() if whole(s)]
        names = [line.get("file") or line.get("key") for line in lines]
        assert len(set(names)) == len(names)


def end_and_go_on(
    name: str, server: Server, known: dict[str, Reference], kind: signal.Signals, moment: float
) -> bool:
    """End a run at a share of its time and go on; return whether it was ended before it was done.

    The result must be that of the uninterrupted run.
    """
    wanted, work = reference(name, server, known), works(server.folder)[name]
    output = server.folder / "output"
    shutil.rmtree(output, ignore_errors=True)
    argv = [*work.argv, "--output", str(output)]
    (server.folder / "log").unlink(missing_ok=True)
    number = server.start(argv)
    time.sleep(moment * wanted.seconds)
    os.kill(number, kind)  # not waited for, so the number is still its own
    code = server.wait(number)
    log = server.log if (server.folder / "log").exists() else ""
    if kind == signal.SIGKILL:
        assert code in (-kind, 0), log
    else:
        # A signal that comes before or after `main` ends the process as any other.
        assert code in (130, 131, 0, -kind), log
        assert code != 130 or "same command to go on" in log, log
        # Python drops an interrupt that comes while an object is destroyed, and says so.
        assert "Traceback" not in re.sub(r"Exception ignored in.*\nTraceback", "", log), log
    if output.exists():
        require_whole_files(output)
    kept = finished(name, output)
    if not (name == "evaluate" and (output / work.last).exists()):  # else: refused as finished
        server.finish(argv)
    require_no_repetition(output, kept)
    assert results(output) == wanted.files
    return code != 0


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("localizer", signal.SIGKILL),
        ("two-stage", signal.SIGKILL),
        ("hardened", signal.SIGKILL),
        ("attack", signal.SIGKILL),
        ("evaluate", signal.SIGKILL),
        ("attack", signal.SIGTERM),
        ("evaluate", signal.SIGINT),
    ],
)
def test_an_ended_run_goes_on(
    name: str, kind: signal.Signals, server: Server, references: dict[str, Reference]
) -> None:
    draw = random.Random(f"{name} {kind.name}")
    end_and_go_on(name, server, references, kind, draw.uniform(0.2, 0.9))


@pytest.mark.slow
@pytest.mark.parametrize("kind", SIGNALS, ids=lambda k: k.name)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_ended_at_any_moment_goes_on(
    name: str,
    kind: signal.Signals,
    server: Server,
    references: dict[str, Reference],
    capsys: pytest.CaptureFixture[str],
) -> None:
    draw = random.Random()
    moments = [draw.uniform(0, 1) for _ in range(LONG)]
    met = sum(end_and_go_on(name, server, references, kind, moment) for moment in moments)
    with capsys.disabled():
        print(
            f"\n{name}, {kind.name}: {LONG} of {LONG} went on, {met} of them ended before the end"
        )
    assert met >= LONG // 4  # a busy computer makes runs that were to be ended slower or faster


@pytest.mark.parametrize("name", ["localizer", "two-stage"])
def test_a_refused_run_changes_nothing_of_the_interrupted_one(name: str, server: Server) -> None:
    output = server.folder / "refused"
    argv = [*works(server.folder)[name].argv, "--output", str(output)]
    number = server.start([*argv, "--steps", "100000"])
    while not list(output.glob("*.checkpoint.safetensors")):
        time.sleep(0.02)
    os.kill(number, signal.SIGKILL)
    server.wait(number)
    before = {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in output.rglob("*.*") if p.is_file()}
    (server.folder / "log").unlink(missing_ok=True)
    assert server.wait(server.start([*argv, "--data.count", "12"])) == 2
    assert "belongs to another run" in server.log
    for path, kept in before.items():
        if path.name != LOCK and path.suffix != ".part":
            assert (path.read_bytes(), path.stat().st_mtime_ns) == kept, path
    shutil.rmtree(output)


def test_the_second_run_in_a_folder_is_refused_and_names_the_first(
    server: Server, references: dict[str, Reference]
) -> None:
    output = server.folder / "shared"
    work = works(server.folder)["localizer"]
    argv = [*work.argv, "--output", str(output)]
    number = server.start([*argv, "--steps", "100000"])
    while not (output / LOCK).exists() or not (output / LOCK).read_text():
        time.sleep(0.02)
    (server.folder / "log").unlink(missing_ok=True)
    assert server.wait(server.start(argv)) == 2
    assert f"another run writes to {output}: process {number} on " in server.log
    os.kill(number, signal.SIGKILL)
    assert server.wait(number) == -signal.SIGKILL
    assert (output / LOCK).exists()  # of a dead process: it holds nobody back
    shutil.rmtree(output)
    output.mkdir()
    (output / LOCK).write_text(json.dumps({"pid": number, "host": "elsewhere"}))
    server.finish(argv)
    assert not (output / LOCK).exists()
