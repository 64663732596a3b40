"""Rivals of the ANSM under the same command: filters, HGD, fine-tuning, a second localizer."""

from ansm_plugin.baselines.base import Baseline, Examples
from ansm_plugin.baselines.registry import (
    BASELINES,
    CHEAP,
    TRAINED,
    fit_baseline,
    require_baseline,
)

__all__ = [
    "BASELINES",
    "CHEAP",
    "TRAINED",
    "Baseline",
    "Examples",
    "fit_baseline",
    "require_baseline",
]
