"""How long and how fast to train."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ansm_plugin.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How long and how fast to train.

    Attributes:
        steps: number of optimiser steps.
        batch_size: images per step, all processes together.
        learning_rate: peak of the schedule: linear warm-up, then half a cosine to zero.
        warmup: steps of linear warm-up.
        weight_decay: of AdamW.
        clip_norm: largest norm of the gradient.
        averaging: decay of the running average of weights that becomes the result; 0 is off.
        precision: "bf16" runs convolutions under autocast; losses and residuals stay fp32.
        checkpoint_every: steps between checkpoints.
        seed: decides initialisation, batches and attacks.
    """

    steps: int = 2000
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup: int = 50
    weight_decay: float = 1e-4
    clip_norm: float = 1.0
    averaging: float = 0.995
    precision: Literal["fp32", "bf16"] = "bf16"
    checkpoint_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError where a number is out of its range."""
        for name in ("steps", "batch_size", "learning_rate", "clip_norm", "checkpoint_every"):
            if not 0 < getattr(self, name) < math.inf:  # NaN is not, either
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be above 0.")
        if not 0 <= self.averaging < 1:
            raise ConfigError(f"averaging is {self.averaging}; allowed: 0 to below 1.")
