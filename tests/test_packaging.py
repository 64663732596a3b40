"""What gets installed: one top-level name, both mapped folders, the weights, nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 25 * 2**20  # bytes of the wheel
ASSETS = {
    "forensic-unet.card.toml", "forensic-unet.safetensors", "forensic-unet-ansm.safetensors",
    "photo.card.toml", "photo.safetensors",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source distribution and, from it, the wheel, outside the checkout."""
    copy = tmp_path_factory.mktemp("build") / "checkout"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs", "__pycache__")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=left_out)
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", "dist", "."],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def contents(wheel: Path) -> set[str]:
    """Return the files of the wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {n for n in archive.namelist() if ".dist-info/" not in n}


def test_the_wheel_has_one_top_level_name(contents: set[str]) -> None:
    assert {name.split("/")[0] for name in contents} == {"ansm_plugin"}


def test_every_source_file_is_in_the_wheel_once(contents: set[str]) -> None:
    sources = {
        f"ansm_plugin/{p.relative_to(ROOT / 'ansm_plugin')}"
        for p in (ROOT / "ansm_plugin").rglob("*.py")
        if "lab" not in p.parts  # what measures is run from the checkout
    }
    for folder in ("backbones", "recipes"):
        sources |= {f"ansm_plugin/{folder}/{p.name}" for p in (ROOT / folder).glob("*.py")}
    assert {n for n in contents if n.endswith(".py")} == sources


def test_weights_and_type_marker_are_in_the_wheel(contents: set[str]) -> None:
    assert "ansm_plugin/py.typed" in contents
    assert {f"ansm_plugin/assets/{name}" for name in ASSETS} <= contents
    assert (
        len([name for name in contents if name.startswith("ansm_plugin/assets/photographs/")]) == 11
    )


def test_templates_are_in_the_wheel_and_the_lab_is_not(contents: set[str]) -> None:
    templates = {p.name for p in (ROOT / "ansm_plugin" / "report" / "templates").iterdir()}
    assert len(templates) == 10
    assert {f"ansm_plugin/report/templates/{name}" for name in templates} <= contents
    assert not [name for name in contents if "/lab/" in name]


def test_the_wheel_stays_small(wheel: Path) -> None:
    assert wheel.stat().st_size <= LIMIT


def test_the_source_distribution_holds_tests_and_documents(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as files:
        names = {n.partition("/")[2] for n in files.getnames()}
    wanted = {"README.md", "CHANGELOG.md", "ARCHITECTURE.md", "LICENSE", "tests/conftest.py"}
    assert wanted <= names
    # Weights for research are a distribution of their own: their data forbid more.
    assert not [name for name in names if name.startswith("recipes/lab/weights")]


@pytest.mark.parametrize("folder", ["backbones", "recipes"])
def test_the_folders_are_not_importable_by_themselves(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"import ansm_plugin.{folder}, not {folder}" in done.stderr
