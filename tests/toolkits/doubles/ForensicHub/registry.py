"""Test double of ForensicHub.registry: names must really be among the keys."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Registry:
    """Names in `module_dict`."""

    def __init__(self) -> None:
        self.module_dict: dict[str, Callable[..., Any]] = {}

    def register_module(self, name: str, module: Callable[..., Any]) -> None:
        if name in self.module_dict:
            raise KeyError(f"{name} is already registered")
        self.module_dict[name] = module


def build_from_registry(registry: Registry, config: dict[str, Any]) -> object:
    """Build what `config` names, with its `init_config` as arguments."""
    if config["name"] not in registry.module_dict.keys():  # noqa: SIM118 - as the host does
        raise ValueError(f"{config['name']} not found in registry")
    return registry.module_dict[config["name"]](**config.get("init_config", {}))


MODELS = Registry()
