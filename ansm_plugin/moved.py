"""Where the modules of 0.1 have gone: their old paths stay importable until 0.3, with a warning.

Names that were public at the root, in packages or as entry points never moved.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_ROOT = __name__.rpartition(".")[0]
MOVED: dict[str, tuple[str, ...]] = {
    "adapters": ("weights.adapters",),
    "anti_forensics": (
        "evaluation.attack_set",
        "evaluation.attacked_files",
        "evaluation.manifest",
    ),
    "attacked": ("training.cache",),
    "augment": ("data.augment",),
    "bench": (
        "evaluation.material",
        "evaluation.rivals",
    ),
    "calibration": ("evaluation.calibration",),
    "checkpoints": ("training.checkpoints",),
    "convert": ("weights.convert",),
    "demo": (
        "evaluation.material",
        "commands.demo",
    ),
    "evaluation.alarms": ("evaluation.checks.alarms",),
    "evaluation.cells": ("evaluation.images", "evaluation.parts"),
    "evaluation.curves": ("report.curves",),
    "evaluation.html": ("report.page",),
    "evaluation.image_quality": ("metrics.image_quality",),
    "evaluation.metrics": (
        "metrics.masks",
        "metrics.defence",
        "metrics.intervals",
    ),
    "evaluation.probes": ("evaluation.checks.gradient",),
    "evaluation.report": (
        "report.style",
        "report.table",
        "report.summary",
        "report.panels",
    ),
    "evaluation.searches": ("evaluation.checks.search",),
    "files": (
        "system.files",
        "system.lock",
    ),
    "folding": ("localizer.folding",),
    "forgeries": (
        "data.pixels",
        "data.forgeries",
        "data.donors",
        "data.traces",
        "data.codec",
        "data.blur",
    ),
    "lists": ("data.pairs", "data.lists"),
    "localize": (
        "data.paint",
        "photograph",
    ),
    "losses": ("training.losses",),
    "metadata": (
        "weights.tensors",
        "weights.metadata",
    ),
    "photographs": ("data.photographs",),
    "pictures": ("report.panels",),
    "pretrained": (
        "defended",
        "weights.folder",
    ),
    "processes": (
        "system.processes",
        "system.lines",
        "system.signals",
    ),
    "registry": (
        "localizer.families",
        "recipes.registry",
    ),
    "samples": ("data.samples",),
    "score_file": ("weights.ansm_file",),
    "taps": ("localizer.taps",),
    "text": ("system.text",),
    "tiles": ("data.tiles",),
    "toolkits.host_attacks": ("toolkits.robustness",),
}


# Old modules whose names are those of public functions today, and where these are: Python puts a
# module that is imported in the place of the name in the package.
_FUNCTIONS = {"localize": "api.calls"}


class _Called(ModuleType):
    """An old module that can be called as the function that has its name today."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Return what the function returns."""
        name = self.__name__.partition(".")[2]
        function = getattr(importlib.import_module(f"{_ROOT}.{_FUNCTIONS[name]}"), name)
        return function(*arguments, **options)


class _Finder:
    """Makes a module that looks its names up where they are now.

    Not derived from the classes of importlib.abc: to import these takes longer than all of ours
    that help needs.
    """

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        root, _, name = fullname.partition(".")
        if root != _ROOT or name not in MOVED:
            return None
        return ModuleSpec(fullname, self)  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None  # Python's own way

    def exec_module(self, module: ModuleType) -> None:
        homes = [f"{_ROOT}.{home}" for home in MOVED[module.__name__.partition(".")[2]]]
        warnings.warn(
            f"{module.__name__} has moved to {' and '.join(homes)}; its old path goes in 0.3.",
            DeprecationWarning,
            stacklevel=2,
        )

        def look_up(name: str) -> Any:
            for home in homes:
                found = importlib.import_module(home)
                if hasattr(found, name):
                    return getattr(found, name)
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}")

        module.__getattr__ = look_up  # type: ignore[method-assign]
        name = module.__name__.partition(".")[2]
        if name in _FUNCTIONS:
            module.__class__ = _Called
            module.__doc__ = f"An old module; called, it is {_ROOT}.{_FUNCTIONS[name]}.{name}."


def install() -> None:
    """Let Python find the old paths."""
    sys.meta_path.append(_Finder())
