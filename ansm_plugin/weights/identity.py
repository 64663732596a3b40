"""Which localizer an ANSM was trained for, as its file and results say it."""

from __future__ import annotations

from torch import nn

from ansm_plugin.localizer.families import inner
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint


def identify(localizer: nn.Module, spec: LocalizerSpec) -> dict[str, str]:
    """Return family, class and sha256 of the state of a localizer."""
    return {
        "family": spec.family,
        "class": type(inner(localizer)).__name__,
        "sha256": fingerprint(localizer),
    }
