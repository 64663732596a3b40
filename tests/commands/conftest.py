"""What several commands are tested with: weights in place of the packaged ones, images on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.bright import photograph
from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.backbones import reference
from ansm_plugin.data.pairs import Pair
from ansm_plugin.weights import catalogue
from ansm_plugin.weights.ansm_file import save_ansm
from ansm_plugin.weights.tensors import write_tensors


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand random weights in for those of the package."""
    torch.manual_seed(0)
    folder = tmp_path / "assets"
    name = reference.DEFAULT_LOCALIZER
    localizer = reference.build_architecture(name)
    write_tensors(localizer.state_dict(), folder / f"{name}.safetensors", {"format": "localizer"})
    ansm = ANSM("small")
    nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    save_ansm(ansm, folder / f"{name}-ansm.safetensors")
    card = f"{name}.card.toml"
    (folder / card).write_text((catalogue.ASSETS / card).read_text())
    monkeypatch.setattr(catalogue, "ASSETS", folder)
    return folder


@pytest.fixture
def pairs(tmp_path: Path) -> list[Pair]:
    """Write three images of two sizes, with their masks."""
    rng = np.random.default_rng(0)
    made = []
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name, size in (("a", (40, 48)), ("b", (64, 48)), ("c", (40, 48))):
        image, mask = tmp_path / "images" / f"{name}.png", tmp_path / "masks" / f"{name}.png"
        Image.fromarray(rng.integers(0, 256, (*size, 3)).astype(np.uint8)).save(image)
        truth = np.zeros(size, np.uint8)
        truth[4:20, 4:20] = 255
        Image.fromarray(truth).save(mask)
        made.append(Pair(image, mask))
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a photograph."""
    Image.fromarray(photograph(64, 96)).save(tmp_path / "photo.png")
    return tmp_path


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Return a folder of three photographs, a damaged one and a note."""
    folder = tmp_path / "album"
    folder.mkdir()
    for seed, name in enumerate(("a.png", "b.jpg", "c.png")):
        Image.fromarray(photograph(64, 96, seed)).save(folder / name)
    (folder / "d.png").write_text("no image")
    (folder / "notes.txt").touch()
    return folder
