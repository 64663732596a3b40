"""Test doubles of the host toolkits in the place of the real ones."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

sys.path.append(str(Path(__file__).parent))  # for host_models, which the test files import too

from host_models import HostModel, QuantisedStreams, TwoStreams, active_weights

DOUBLES = Path(__file__).parent / "doubles"
HOSTS = ("IMDLBenCo", "ForensicHub", "photoholmes")


@pytest.fixture
def _doubles(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put the test doubles in the place of the host toolkits."""
    monkeypatch.syspath_prepend(str(DOUBLES))
    ours = [n for n in sys.modules if n.split(".")[0] in HOSTS]
    for name in ours:
        monkeypatch.delitem(sys.modules, name)
    with warnings.catch_warnings():
        yield
    for name in [n for n in sys.modules if n.split(".")[0] in HOSTS]:
        del sys.modules[name]


@pytest.fixture
def benco(_doubles: None) -> ModuleType:
    """Return the registry module of IMDLBenCo's test double, with two models."""
    registry = importlib.import_module("IMDLBenCo.registry")
    registry.MODELS.register_module(module=HostModel)
    registry.MODELS.register_module(module=TwoStreams)
    return registry


@pytest.fixture
def hub(_doubles: None) -> ModuleType:
    """Return the registry module of ForensicHub's test double, with two models."""
    registry = importlib.import_module("ForensicHub.registry")
    registry.MODELS.register_module("HostModel", HostModel)
    registry.MODELS.register_module("DTD", QuantisedStreams)
    return registry


@pytest.fixture
def batch() -> dict[str, Any]:
    """Return two images as IMDLBenCo normalises them, with masks."""
    torch.manual_seed(3)
    mask = torch.zeros(2, 1, 32, 32)
    mask[..., 8:20, 8:20] = 1
    return {"image": torch.rand(2, 3, 32, 32), "mask": mask, "name": ["a", "b"]}


@pytest.fixture
def host(_doubles: None) -> ModuleType:
    """Return the factory of photoholmes' test double."""
    return importlib.import_module("photoholmes.methods.factory")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return active_weights(tmp_path_factory.mktemp("ansm") / "a.safetensors", 0.5)
