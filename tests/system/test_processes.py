"""Several processes: the numbers and files of one, whoever is killed and however many resume."""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.cli import main
from ansm_plugin.system import processes
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.training import cache as attacked
from ansm_plugin.weights.ansm_file import save_ansm
from ansm_plugin.weights.tensors import read_metadata

MODULE = "localizer_for_processes"
CODE = """
    import os, signal
    import torch
    from torch import nn

    STOP = {"after": -1, "kind": None}  # a signal that the second process sends itself


    class Localizer(nn.Module):
        pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}

        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1)
            self.head = nn.Conv2d(4, 1, 3, padding=1)

        def forward(self, images):
            probed = images.shape[-1] >= 64  # by what finds out about a localizer, not by work
            if os.environ.get("RANK") == "1" and STOP["kind"] is not None and not probed:
                STOP["after"] -= 1
                if STOP["after"] == 0:
                    os.kill(os.getpid(), STOP["kind"])
            bright = 40 * (images.mean(1, keepdim=True) + 0.18)
            return bright + self.head(torch.relu(self.stem(images)))


    def build():
        with torch.random.fork_rng():
            torch.manual_seed(1)
            return Localizer()
"""
LAUNCHED = f"""
    import json, os, sys
    import torch
    torch.set_num_threads(1)
    import {MODULE} as user
    from ansm_plugin.training import cache as attacked
    from ansm_plugin.cli import main

    attacked.SHARD = 4
    codes = []
    for arguments, after, kind in json.loads(sys.argv[1]):
        user.STOP.update(after=after, kind=kind)
        codes.append(main(arguments))
    print("codes", codes, flush=True)
    os._exit(0)  # gloo's threads abort a process, rarely, while the interpreter ends
"""
NAME = f"{MODULE}:build"
Command = tuple[list[str], int, int | None]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with forged images of three sizes, their masks, and a user's module."""
    (tmp_path / f"{MODULE}.py").write_text(textwrap.dedent(CODE))
    (tmp_path / "launched.py").write_text(textwrap.dedent(LAUNCHED))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    monkeypatch.setattr(attacked, "SHARD", 4)
    ansm = ANSM(Architecture(widths=(4,), encoder_blocks=(1,), decoder_blocks=()))
    nn.init.normal_(ansm.trunk.head.weight)
    save_ansm(ansm, tmp_path / "ansm.safetensors")
    rng = np.random.default_rng(0)
    for index, size in enumerate([(40, 48), (48, 40), (44, 44), (40, 48), (44, 44)]):
        mask = np.zeros(size, np.uint8)
        mask[8:28, 10:34] = 255
        image = rng.normal(110, 2, (*size, 3)) + 12 * (mask[..., None] > 0)
        for kind, pixels in (("images", image), ("masks", mask)):
            path = tmp_path / kind / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(path)
    return tmp_path


def launch(folder: Path, *commands: Command) -> subprocess.CompletedProcess[str]:
    """Run `ansm` commands one after another in two processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2",
                "--master-addr=127.0.0.1", f"--master-port={port}"]  # fmt: skip
    return subprocess.run(
        [*torchrun, str(folder / "launched.py"), json.dumps(commands)],
        capture_output=True, text=True, check=False, timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
             "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])},
    )  # fmt: skip


def pairs_of(folder: Path) -> list[str]:
    return ["--images", str(folder / "images"), "--masks", str(folder / "masks")]


def evaluation(folder: Path, output: str) -> list[str]:
    options = ["--threat", "T0,T1", "--attacks", "pgd,mifgsm", "--eps", "8", "--attack-steps", "2"]
    files = ["--ansm", str(folder / "ansm.safetensors"), "--output", str(folder / output)]
    return ["evaluate", "--localizer", NAME, *pairs_of(folder), *options, "--baselines", "none",
            *files]  # fmt: skip


def attack(folder: Path, output: str) -> list[str]:
    return ["attack", "--localizer", NAME, *pairs_of(folder), "--attack-steps", "2", "--eps", "4,8",
            "--output", str(folder / output)]  # fmt: skip


def training(folder: Path, output: str) -> list[str]:
    fields = {
        "localizer": NAME, "data.count": 10, "data.forgeries.size": 32, "attacks.steps": 2,
        "attacks.precision": "fp32", "ansm": "small", "ffa.taps": "stem", "mgr.channel": 0.5,
    }  # fmt: skip
    for stage in ("ffa", "mgr"):
        fit = {"batch-size": 4, "warmup": 0, "precision": "fp32", "learning-rate": 1e-3}
        fields |= {f"{stage}.fit.{key}": value for key, value in fit.items()}
    options = [part for key, value in fields.items() for part in (f"--{key}", str(value))]
    return ["train", "two-stage", "--output", str(folder / output), *pairs_of(folder),
            "--steps", "4", *options]  # fmt: skip


def numbers(output: Path) -> dict[str, Any]:
    """Return a result without the time that it took and the command that asked for it."""
    fields: dict[str, Any] = json.loads((output / "evaluation.json").read_text())
    return {k: v for k, v in fields.items() if k not in ("cost", "command")}


def contents(output: Path) -> dict[str, Any]:
    """Return the files of a set; lines of records in any order."""
    return {
        str(p.relative_to(output)): sorted(p.read_text().splitlines())
        if p.suffix == ".jsonl"
        else p.read_bytes()
        for p in output.rglob("*")
        if p.is_file()
    }


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_two_processes_write_what_one_writes(folder: Path) -> None:
    """Evaluation, attacked sets and cached crops to the last bit; a training to rounding.

    The training of two is told to stop in one of them, and goes on in one process.
    """
    done = launch(
        folder,
        (evaluation(folder, "eval-2"), -1, None),
        (attack(folder, "set-2"), -1, None),
        (training(folder, "train-2"), 6, signal.SIGTERM),
    )
    assert done.stdout.count("codes [0, 0, 130]") == 2, done.stdout + done.stderr
    assert done.stdout.count("wrote") == 2, done.stdout  # the first process speaks alone
    for command in (evaluation, attack, training):
        name = {evaluation: "eval", attack: "set", training: "train"}[command]
        assert main(command(folder, f"{name}-1")) == 0
    assert numbers(folder / "eval-2") == numbers(folder / "eval-1")
    assert contents(folder / "set-2") == contents(folder / "set-1")
    shards = [sorted((folder / f"train-{n}" / "attacked").iterdir()) for n in (1, 2)]
    assert len(shards[0]) == 3
    for one, two in zip(*shards, strict=True):
        assert read_metadata(one) == read_metadata(two)
        assert torch.equal(load_file(one)["attacked"], load_file(two)["attacked"])
    (checkpoint,) = (folder / "train-2").glob("*.checkpoint.safetensors")
    assert 0 < int(read_metadata(checkpoint)["done"]) < 4
    assert main(training(folder, "train-2")) == 0
    for stage in ("ffa", "mgr"):
        one, two = (folder / f"train-{n}" / f"{stage}.safetensors" for n in (1, 2))
        losses = [json.loads(read_metadata(p)["metrics"])["loss"] for p in (one, two)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)
        weights = load_file(two)
        for key, value in load_file(one).items():
            torch.testing.assert_close(weights[key], value, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_training_of_one_goes_on_in_two_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = importlib.import_module(MODULE)
    with monkeypatch.context() as patch:
        patch.setenv("RANK", "1")  # the module sends its signal in the second process alone
        user.STOP.update(after=12, kind=signal.SIGTERM)
        assert main(training(folder, "more")) == 130
    (checkpoint,) = (folder / "more").glob("*.checkpoint.safetensors")
    assert 0 < int(read_metadata(checkpoint)["done"]) < 4
    done = launch(folder, (training(folder, "more"), -1, None))
    assert done.stdout.count("codes [0]") == 2, done.stdout + done.stderr
    assert main(training(folder, "one")) == 0
    for stage in ("ffa", "mgr"):
        losses = [
            json.loads(read_metadata(folder / name / f"{stage}.safetensors")["metrics"])["loss"]
            for name in ("one", "more")
        ]
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)


@pytest.mark.filterwarnings("ignore:.*:UserWarning")
def test_a_killed_worker_costs_no_finished_image(folder: Path) -> None:
    """One of two processes dies in each command; one process goes on with what both finished."""
    killed = launch(folder, (evaluation(folder, "eval"), 5, signal.SIGKILL))
    assert killed.returncode != 0
    kept = lines(folder / "eval")
    assert (folder / "eval" / "records.1.jsonl").exists()
    assert main(evaluation(folder, "eval")) == 0
    assert not (folder / "eval" / "records.1.jsonl").exists()
    every = lines(folder / "eval")
    assert kept <= every
    keys = [json.loads(line)["key"] for line in every]
    assert len(keys) == len(set(keys))
    assert main(evaluation(folder, "whole")) == 0
    assert numbers(folder / "eval") == numbers(folder / "whole")


def lines(output: Path) -> set[str]:
    """Return all whole lines of records."""
    return {line for p in output.glob("records*.jsonl") for line in p.read_text().splitlines()}


# --- in one process -------------------------------------------------------------------------------


def test_without_a_launcher_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert processes.processes() is ALONE
    assert ALONE.is_first
    assert ALONE.gather(3) == [3]
    assert ALONE.once(lambda: 4) == 4
    ALONE.wait()


def test_every_part_has_one_owner() -> None:
    everyone = [Processes(rank, 3) for rank in range(3)]
    assert [[p.rank for p in everyone if p.owns(part)] for part in range(4)] == [[0], [1], [2], [0]]


def test_an_attack_goes_on_with_the_parts_of_other_processes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What process 7 left is taken over; half a line is not."""
    assert main(attack(folder, "set")) == 0
    expected, output = contents(folder / "set"), folder / "set"
    header, *others = (output / "records.jsonl").read_text().splitlines()
    (output / "records.jsonl").write_text(f"{header}\n{others[0]}\n{others[1][:9]}")
    (output / "records.7.jsonl").write_text("".join(f"{line}\n" for line in others[2:]))
    (output / "manifest.json").unlink()
    times = {p: p.stat().st_mtime_ns for p in (output / "Tp").iterdir()}
    assert main(attack(folder, "set")) == 0
    made = [p for p, time in times.items() if p.stat().st_mtime_ns != time]
    assert len(made) == 1
    found = contents(output)
    torn = [line for line in found["records.jsonl"] if line not in expected["records.jsonl"]]
    assert torn == [others[1][:9]]
    assert found.keys() == expected.keys()
    assert found["manifest.json"] == expected["manifest.json"]
