"""How modules are trained, whatever the recipe."""

from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import (
    Shard,
    Step,
    StepOutput,
    discard_checkpoint,
    fit,
    step_index,
    training_device,
)
from ansm_plugin.training.randomness import seeded

__all__ = [
    "FitConfig",
    "Shard",
    "Step",
    "StepOutput",
    "discard_checkpoint",
    "fit",
    "seeded",
    "step_index",
    "training_device",
]
