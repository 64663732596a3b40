"""How modules are trained, whatever the recipe."""

from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import (
    Share,
    Step,
    StepOutput,
    Turn,
    discard_checkpoint,
    fit,
    training_device,
)
from ansm_plugin.training.randomness import seeded

__all__ = [
    "FitConfig",
    "Share",
    "Step",
    "StepOutput",
    "Turn",
    "discard_checkpoint",
    "fit",
    "seeded",
    "training_device",
]
