"""What a result says about where it comes from: names, and versions of packages."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from torch import nn

from ansm_plugin.ansm import ANSM, PRESETS
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.weights.ansm_file import identify

_PACKAGES = ("torch", "timm", "segmentation_models_pytorch", "ansm_plugin")


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names for a result.

    Attributes:
        localizer: of the localizer; "" is family, class and hash.
        ansm: of the ANSM; "" is preset or class.
        command: the command line that asked for the result.
    """

    localizer: str = ""
    ansm: str = ""
    command: str = ""

    def filled(self, defended: DefendedLocalizer[Any]) -> Labels:
        """Return the names of a pair where none were given; the gate is always named."""
        gate = ", gated" if defended.gate else ""
        return Labels(
            localizer=self.localizer or _localizer_name(defended),
            ansm=(self.ansm or _ansm_name(defended.ansm)) + gate,
            command=self.command,
        )


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide a result."""
    return {name: _version(name) for name in _PACKAGES}


def _localizer_name(defended: DefendedLocalizer[Any]) -> str:
    known = identify(defended.localizer, defended.spec)
    return f"{known['family']}:{known['class']} {known['sha256'][:12]}"


def _ansm_name(ansm: nn.Module) -> str:
    if not isinstance(ansm, ANSM):
        return type(ansm).__name__
    name = next((n for n, arch in PRESETS.items() if arch == ansm.architecture), "custom")
    return f"{name}, untrained" if ansm.is_identity else name


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
