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
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.lock import LOCK, only_run_in

ROOT = Path(__file__).parents[2]
LONG = int(os.environ.get("ANSM_KILLS", "50"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODE = """
    import torch
    from torch import nn


    class Localizer(nn.Module):
        pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6))
            self.dropout = nn.Dropout(0.5)
            self.head = nn.Conv2d(6, 1, 3, padding=1)

        def forward(self, images):
            return self.head(self.dropout(torch.relu(self.stem(images))))


    def build():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return Localizer()
"""
LOCALIZER = "localizer_under_kill:build"
DATA = ["--data.forgeries.size", "32", "--data.count", "8"]
FIT = ["--steps", "6", "--localizer", LOCALIZER]
STAGE = ["--attacks.attacks", "pgd", "--attacks.steps", "2", "--preset", "tiny"]


class Server:
    """Runs commands in forks of one process that has paid for the imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("forks.py")), str(folder / "code")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=folder,
            env=environment,
        )
        assert self._read() == "ready"

    def start(self, argv: list[str]) -> int:
        """Start a run and return its process number."""
        return int(self._ask({"argv": argv, "log": str(self.folder / "log")}))

    def wait(self, number: int) -> int:
        """Return the exit code of a run."""
        return int(self._ask({"wait": number}))

    def finish(self, argv: list[str]) -> None:
        """Run to the end; nothing else may happen."""
        (self.folder / "log").unlink(missing_ok=True)
        assert self.wait(self.start(argv)) == 0, self.log

    @property
    def log(self) -> str:
        """What the runs since the last `finish` printed."""
        return (self.folder / "log").read_text()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, asked: dict[str, Any]) -> str:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Work(NamedTuple):
    """A command without its output folder, what it writes at last, and how long it takes."""

    argv: list[str]
    last: str


class Reference(NamedTuple):
    """What the uninterrupted run left, and the seconds that it took."""

    files: dict[str, bytes]
    seconds: float


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server in a folder with a localizer, images and the weights of stage 1."""
    folder = tmp_path_factory.mktemp("kills")
    (folder / "code").mkdir()
    (folder / "code" / "localizer_under_kill.py").write_text(textwrap.dedent(CODE))
    rng = np.random.default_rng(0)
    for index in range(3):
        mask = np.zeros((40, 48), np.uint8)
        mask[8:28, 10:34] = 255
        image = rng.normal(110, 8, (40, 48, 3)) + 60 * (mask[..., None] > 0)
        for kind, pixels in (("images", image), ("masks", mask)):
            path = folder / kind / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(path)
    made = Server(folder)
    yield made
    made.close()


def works(folder: Path) -> dict[str, Work]:
    """Return every command that writes for long."""
    images = ["--images", str(folder / "images"), "--masks", str(folder / "masks")]
    fit = [*images, *FIT, *DATA]
    fast = ["--fit.batch-size", "4", "--fit.checkpoint-every", "2", "--fit.warmup", "2"]
    ffa = [a.replace("--fit", "--ffa.fit") for a in fast] + ["--ffa.taps", "stem"]
    mgr = [a.replace("--fit", "--mgr.fit") for a in fast]
    stage = [x for x in STAGE if x not in ("--preset", "tiny")]
    hardened = [a.replace("--fit", "--hardened.fit") for a in [*fast[2:], "--fit.batch-size", "3"]]
    hardened += ["--hardened.checks.steps", "2", "--hardened.checks.images", "2", "--tune", "all"]
    hardened += ["--hardened.checks.every", "3", "--hardened.checks.limit", "1"]
    start = ["--start", str(folder / "stage1" / "ffa.safetensors")]
    attacks = ["--localizer", LOCALIZER, *images, "--attack-steps", "2", "--eps", "2,4"]
    return {
        "localizer": Work(["train", "localizer", *fit, *fast], "localizer.safetensors"),
        "ffa": Work(["train", "ffa", *fit, *STAGE, *ffa], "ffa.safetensors"),
        "mgr": Work(["train", "mgr", *fit, *stage, *mgr, *start], "mgr.safetensors"),
        "two-stage": Work(["train", "two-stage", *fit, *STAGE, *ffa, *mgr], "mgr.safetensors"),
        "hardened": Work(["train", "hardened", *fit, *STAGE, *hardened], "adapter.safetensors"),
        "attack": Work(["attack", *attacks, "--attacks", "pgd,mifgsm"], "manifest.json"),
        "evaluate": Work(
            ["evaluate", *attacks, "--attacks", "pgd", "--threat", "T0,T1", "--baselines", "none",
             "--white-box-steps", "0"],
            "evaluation.json",
        ),
    }  # fmt: skip


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
