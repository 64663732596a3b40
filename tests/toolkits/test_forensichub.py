"""ForensicHub through a test double of its registry; the real one was not run."""

from __future__ import annotations

import importlib
import sys
import types
from types import ModuleType
from typing import Any

import pytest
import torch
from host_models import HostModel

from ansm_plugin.errors import ConfigError
from ansm_plugin.toolkits import forensichub


@pytest.fixture
def hub(_doubles: None) -> ModuleType:
    """Return the registry module of ForensicHub's test double, with one model."""
    registry = importlib.import_module("ForensicHub.registry")
    registry.MODELS.register_module("HostModel", HostModel)
    return registry


def test_a_model_is_nested_by_name_and_init_config(hub: ModuleType, batch: dict[str, Any]) -> None:
    assert forensichub.register() == ["ANSM"]
    config = {"name": "ANSM", "init_config": {"name": "HostModel", "init_config": {"width": 6}}}
    pair = hub.build_from_registry(hub.MODELS, config).eval()
    assert pair.localizer.head.in_channels == 6
    assert torch.equal(pair(**batch)["pred_mask"], pair.localizer(**batch)["pred_mask"])


def test_registering_twice_changes_nothing(hub: ModuleType) -> None:
    forensichub.register()
    assert forensichub.register() == ["ANSM"]
    assert list(hub.MODELS.module_dict) == ["HostModel", "ANSM"]


def test_another_model_of_that_name_is_not_replaced(hub: ModuleType) -> None:
    hub.MODELS.register_module("ANSM", HostModel)
    with pytest.raises(ConfigError, match="holds another model named ANSM, of host_models"):
        forensichub.register()


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("norm_type", list(forensichub.SPECS))
def test_the_normalisation_is_that_of_the_yaml(norm_type: str) -> None:
    pair = forensichub.build("HostModel", norm_type=norm_type)
    expected = forensichub.SPECS[norm_type]
    assert (pair.spec.mean, pair.spec.std) == (expected.mean, expected.std)
    assert pair.spec.normalisation == f"ForensicHub's norm_type {norm_type}"


@pytest.mark.usefixtures("hub")
def test_the_configs_own_dict_is_left_alone() -> None:
    config = {"width": 6}
    forensichub.build("HostModel", config)
    assert config == {"width": 6}


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("HostModell", {}, "ForensicHub cannot build 'HostModell'"),
        ("HostModel", {"norm_type": "imagenet"}, "unknown norm_type 'imagenet'.*image_net"),
    ],
)
def test_mistakes_are_named(name: str, options: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        forensichub.build(name, **options)


@pytest.mark.usefixtures("_doubles")
def test_a_missing_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ForensicHub.registry", None)
    with pytest.raises(ConfigError, match=r"ForensicHub cannot be imported .*HOSTS\.md"):
        forensichub.register()


@pytest.mark.usefixtures("_doubles")
def test_the_older_package_of_that_name_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ForensicHub.registry", types.ModuleType("registry"))
    with pytest.raises(ConfigError, match="older package of PyPI"):
        forensichub.register()
