"""A localizer of the user's own code, forged pairs in folders, and configs of a few steps."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.short_runs import THIN

from ansm_plugin.ansm import PRESETS
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.training import cache as attacked
from ansm_plugin.training.cache import AttackMixture

MODULE = "localizer_of_a_user"
LOCALIZER = f"{MODULE}:build"


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a module with `build` on the path: noise turns the mask on."""
    code = """
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
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / f"{MODULE}.py").write_text(textwrap.dedent(code))
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """Return twelve crops of 32 pixels; in the masked square the images are brighter."""
    rng = np.random.default_rng(0)
    for index in range(3):
        mask = np.zeros((40, 48), np.uint8)
        mask[8:28, 10:34] = 255
        image = rng.normal(110, 8, (40, 48, 3)) + 60 * (mask[..., None] > 0)
        for kind, pixels in (("images", image), ("masks", mask)):
            path = tmp_path / kind / f"{index}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8)).save(path)
    return DataConfig(
        images=tmp_path / "images",
        masks=tmp_path / "masks",
        count=12,
        forgeries=ForgeryConfig(size=32),
    )


@pytest.fixture
def stage(
    user_code: Path, data: DataConfig, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict[str, Any]]:
    """Return a function that gives the fields which every stage needs, with changes."""
    monkeypatch.setattr(attacked, "SHARD", 8)
    common: dict[str, Any] = {
        "localizer": LOCALIZER,
        "data": replace(data, seed=1),
        "attacks": AttackMixture(attacks=("pgd", "mifgsm"), steps=2, precision="fp32"),
    }
    return lambda **changes: {**common, **changes}


@pytest.fixture
def _thin_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ANSMs be named by `thin`; for `usefixtures`."""
    monkeypatch.setitem(PRESETS, "thin", THIN)
