"""A photograph with a white square, and a localizer that takes what is bright for forged."""

from __future__ import annotations

import numpy as np
from torch import nn

from ansm_plugin.data.pixels import Pixels


def bright() -> nn.Module:
    """Return a localizer that takes bright pixels for forged."""
    model = nn.Conv2d(3, 1, 1)
    nn.init.constant_(model.weight, 20.0)
    nn.init.zeros_(model.bias)  # type: ignore[arg-type]
    model.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}  # type: ignore[assignment]
    return model.eval()


def soft() -> nn.Module:
    """Return a localizer that is less sure: 0.95 for white, 0.05 for black."""
    model = bright()
    nn.init.constant_(model.weight, 1.0)  # type: ignore[arg-type]
    return model


def photograph(height: int, width: int, seed: int = 0) -> Pixels:
    """Return random pixels with a white square of 20."""
    pixels = np.random.default_rng(seed).integers(0, 100, (height, width, 3)).astype(np.uint8)
    pixels[10:30, 10:30] = 255
    return pixels
