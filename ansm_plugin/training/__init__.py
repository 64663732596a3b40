"""How modules are trained, whatever the recipe."""

from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.device import training_device
from ansm_plugin.training.loop import discard_checkpoint, fit
from ansm_plugin.training.randomness import seeded
from ansm_plugin.training.step import Share, Step, StepOutput, Turn

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
