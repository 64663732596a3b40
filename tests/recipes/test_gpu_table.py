"""The table of a GPU, without one: every part runs small on the CPU, and no figure is claimed."""

from __future__ import annotations

import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lab import gpu, gpu_attacks, gpu_forward, gpu_training
from lab.gpu_clock import NOT_MEASURED, Row, Scale, dry, seconds_by_turns

SCRIPT = Path(__file__).parents[2] / "recipes" / "lab" / "gpu.sh"
DRY = dry()


def test_the_table_has_the_eight_rows_of_a_gpu() -> None:
    assert len(gpu.ROWS) == 8
    lines = gpu.table(gpu.ROWS, ["1.50"] * 8, "an H100").splitlines()
    assert len(lines) == 2 + 8
    assert all(line.count("|") == 5 for line in lines)
    assert lines[2].endswith("| >= 1.5; bf16 >= 2.5 | 1.50 |")


def test_a_cpu_claims_no_figure_and_a_failure_is_seen() -> None:
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert gpu.shown(["1.50", "failed: OSError"], cpu) == [NOT_MEASURED, "failed: OSError"]
    assert gpu.shown(["1.50"], cuda) == ["1.50"]


def test_a_row_that_fails_leaves_the_others_to_be_measured() -> None:
    def broken(scale: Scale) -> str:
        raise OSError("no such device")

    said: list[str] = []
    rows = [Row("first", "", "", broken), Row("second", "", "", lambda scale: str(scale.images))]
    assert gpu.measured(rows, DRY, said.append) == ["failed: OSError", "2"]
    assert "failed: first: OSError: no such device" in said


def test_without_a_gpu_only_the_dry_form_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    monkeypatch.setattr(gpu, "ROWS", (Row("tiny", "2", ">= 3", lambda scale: str(scale.images)),))
    assert gpu.main([]) == 2
    assert "--dry" in capsys.readouterr().out
    file = tmp_path / "figures.json"
    assert gpu.main(["--dry", "--json", str(file)]) == 0
    assert "| tiny | 2 | >= 3 | not measured |" in capsys.readouterr().out
    assert '"tiny": "not measured"' in file.read_text()


def test_runs_take_turns_and_the_first_of_each_warms_up() -> None:
    order: list[str] = []
    runs = {name: lambda name=name: order.append(name) for name in "ab"}  # type: ignore[misc]
    taken = seconds_by_turns(runs, replace(DRY, rounds=2))
    assert "".join(order) == "ababab"
    assert all(0 <= value < 1 for value in taken.values())


def test_attacks_are_measured_beside_their_rival(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_attacks, "rival_name", lambda: gpu_attacks._OWN)
    bed = gpu_attacks.make_bed(gpu_attacks.EMBEDDED, DRY)
    attacked = [gpu_attacks.ours(bed, DRY, "fp32")(), gpu_attacks.rival(bed, DRY)()]
    for images in attacked:
        noise = 255 * (images - bed.images).abs()
        assert 3 < noise.max() <= 4.01 or images is attacked[0]  # ours is rounded to 8 bit
        assert noise.max() <= 4.51
    found = gpu_attacks.speed(gpu_attacks.EMBEDDED, DRY)
    assert min(found) > 0
    said = gpu_attacks.against_rival(gpu_attacks.EMBEDDED)(DRY)
    assert said.endswith("(rival: torchattack-like plain PGD)")


def test_the_module_is_measured_beside_the_localizer() -> None:
    assert 0 < gpu_forward.ratio(1, replace(DRY, forward_side=32), gpu_forward.eager) < 5


def test_a_step_is_measured_beside_its_passes() -> None:
    taken = gpu_training.step_of_mgr(DRY)
    assert taken.whole > taken.localizer > 0
    assert "over the passes of localizer and module" in gpu_training.step_over_passes(DRY)


@pytest.mark.slow
@pytest.mark.parametrize("measure", [gpu_training.demo, gpu_training.first_step])
def test_commands_are_timed_from_their_start(measure: object) -> None:
    assert measure(DRY).endswith(" s")  # type: ignore[operator]


def test_a_command_that_fails_says_why_and_a_slow_one_is_stopped() -> None:
    with pytest.raises(RuntimeError, match=r"ended with 3.*gone"):
        gpu_training._waited_for(["-c", "import sys; print('gone', file=sys.stderr); exit(3)"], DRY)
    patience = replace(DRY, patience=0.2)
    said = gpu_training._waited_for(["-c", "import time; time.sleep(20)"], patience)
    assert said == "> 0 s"


def script(tmp_path: Path, missing: str, *options: str) -> tuple[int, str, list[str]]:
    """Run the script with a Python that only notes how it is called; return what it did."""
    log, python = tmp_path / "calls", tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$*" >> {log}\n[ "$1" = - ] && echo "{missing}"\nexit 0\n')
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    done = subprocess.run(
        ["bash", str(SCRIPT), *options],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHON": str(python)},
    )  # fmt: skip
    return done.returncode, done.stderr, log.read_text().splitlines()


def test_the_script_runs_the_tests_and_then_the_table(tmp_path: Path) -> None:
    code, _, calls = script(tmp_path, "", "--dry")
    assert code == 0
    assert calls[1:] == ["-m pytest -q -p no:randomly -m gpu tests/gpu", "-m lab.gpu --dry"]


def test_the_script_names_what_is_missing(tmp_path: Path) -> None:
    code, said, calls = script(tmp_path, "timm kornia")
    assert code == 2
    assert "timm kornia" in said
    assert len(calls) == 1
