"""Commands that write for long, run in forks of one process that has paid for the imports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.users_localizer import LOCALIZER, write_code, write_pairs

ROOT = Path(__file__).parents[2]
DATA = ["--data.forgeries.size", "32", "--data.count", "8"]
FIT = ["--steps", "6", "--localizer", LOCALIZER]
STAGE = ["--attacks.attacks", "pgd", "--attacks.steps", "2", "--preset", "tiny"]


class Server:
    """Runs commands in forks of one process that has paid for the imports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "hardening" / "forks.py"), str(folder / "code")],
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


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server in a folder with a localizer, images and the weights of stage 1."""
    folder = tmp_path_factory.mktemp("kills")
    write_code(folder / "code")
    write_pairs(folder)
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
