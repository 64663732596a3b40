"""A drop-in defence of forgery localizers against adversarial noise.

Names are imported when they are first used, so that the command line answers without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ansm_plugin import moved

if TYPE_CHECKING:
    from ansm_plugin.ansm import ANSM
    from ansm_plugin.api.calls import attack, evaluate, localize, train
    from ansm_plugin.defended import (
        DefendedLocalizer,
        load_pretrained,
        unwrap,
        wrap_with_ansm,
    )
    from ansm_plugin.errors import AnsmError
    from ansm_plugin.localizer.explain import explain
    from ansm_plugin.localizer.spec import LocalizerSpec
    from ansm_plugin.weights.adapters import apply_adapter
    from ansm_plugin.weights.ansm_file import load_ansm, save_ansm

    __version__: str

__all__ = [
    "ANSM",
    "AnsmError",
    "DefendedLocalizer",
    "LocalizerSpec",
    "__version__",
    "apply_adapter",
    "attack",
    "evaluate",
    "explain",
    "load_ansm",
    "load_pretrained",
    "localize",
    "save_ansm",
    "train",
    "unwrap",
    "wrap_with_ansm",
]

_HOME = {
    "ANSM": "ansm",
    "AnsmError": "errors",
    "DefendedLocalizer": "defended",
    "LocalizerSpec": "localizer.spec",
    "apply_adapter": "weights.adapters",
    "attack": "api.calls",
    "evaluate": "api.calls",
    "explain": "localizer.explain",
    "load_ansm": "weights.ansm_file",
    "load_pretrained": "defended",
    "localize": "api.calls",
    "save_ansm": "weights.ansm_file",
    "train": "api.calls",
    "unwrap": "defended",
    "wrap_with_ansm": "defended",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ansm_plugin")
    except PackageNotFoundError:  # a checkout that was never installed
        return "0+unknown"


moved.install()
