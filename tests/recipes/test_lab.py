"""The scripts of the measurements are modules of one package, each run by its name."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lab

LAB = Path(lab.__file__).parent
ROOT = LAB.parents[1]
# What scripts share, and no script itself.
SHARED = {"exact", "gpu_attacks", "gpu_clock", "gpu_forward", "gpu_training"}
SCRIPTS = sorted({path.stem for path in LAB.glob("[!_]*.py")} - SHARED)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_says_how_it_is_run(name: str) -> None:
    said = import_module(f"lab.{name}").__doc__
    assert said is not None
    assert f"\n    PYTHONPATH=recipes python -m lab.{name} " in said


def test_a_script_runs_from_the_root_of_the_checkout(tmp_path: Path) -> None:
    """One that imports another; here of no results, so that it prints the heads of its tables."""
    done = subprocess.run(
        [sys.executable, "-m", "lab.tables", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": "recipes"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| | aim | ")


def test_documents_name_scripts_and_files_that_are_there() -> None:
    """Of the lab, in every document of the checkout and in the scripts themselves."""
    folders = (ROOT, ROOT / "recipes", LAB)
    documents = [*(p for f in folders for p in f.glob("*.md")), *LAB.glob("*.sh")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in documents)
    text = re.sub(r"(?s)\n## \[0\.1\.0\].*?(?=\n## |\n# |\Z)", "", text)  # paths of its day
    assert set(re.findall(r"-m lab\.([a-z_]+)\b", text)) <= set(SCRIPTS)
    assert not re.findall(r"recipes/(?:proof|results|weights)\b", text)
    if not list((LAB / "weights").glob("*.safetensors")):
        pytest.skip("the sdist has no published weights")
    named = re.findall(r"\blab/(?:results|weights)/[\w./-]*\.\w+", text)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / "recipes" / name).exists()] == []
