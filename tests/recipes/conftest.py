"""A localizer of the user's own code, forged pairs in folders, and configs of a few steps."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.short_runs import THIN
from support.users_localizer import LOCALIZER, MODULE, write_code, write_pairs

from ansm_plugin.ansm import PRESETS
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.training import cache as attacked
from ansm_plugin.training.cache import AttackMixture


@pytest.fixture
def user_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a module with `build` on the path: noise turns the mask on."""
    folder = tmp_path / "code"
    write_code(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> DataConfig:
    """Return twelve crops of 32 pixels; in the masked square the images are brighter."""
    write_pairs(tmp_path)
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
