"""Test double of IMDLBenCo.registry: a table of callables by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Registry:
    """Names in `_module_dict`; a second registration of a name is refused."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._module_dict: dict[str, Callable[..., Any]] = {}

    @property
    def module_dict(self) -> dict[str, Callable[..., Any]]:
        return self._module_dict

    def has(self, name: str) -> bool:
        return name in self._module_dict

    def get(self, name: str) -> Callable[..., Any]:
        if name in self._module_dict:
            return self._module_dict[name]
        raise KeyError(f"{name} is not registered")

    def get_lower(self, name: str) -> Callable[..., Any]:
        for key in self._module_dict.keys():  # noqa: SIM118 - as the host does
            if key.lower() == name.lower():
                return self._module_dict[key]
        raise KeyError(f"{name} is not registered")

    def register_module(
        self, name: str | None = None, force: bool = False, module: Any = None
    ) -> Any:
        if module is None:
            return lambda made: self.register_module(name, force, made)
        name = name or module.__name__
        if not force and name in self._module_dict:
            raise KeyError(f"{name} is already registered at {self._module_dict[name].__module__}")
        self._module_dict[name] = module
        return module


MODELS = Registry("MODELS")
POSTFUNCS = Registry("POSTFUNCS")
