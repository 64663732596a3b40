"""Arrays of pixels by name, and how they become tensors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W, 3) in [0, 255]
Floats = NDArray[np.float32]  # (H, W, 3) in [0, 255]
Plane = NDArray[np.float32]  # (H, W): one value per pixel
Mask = NDArray[np.uint8]  # (H, W) in {0, 1}; 1 is forged
Selection = NDArray[np.bool_]  # (H, W): which pixels are meant
Rng = np.random.Generator


def to_tensor(pixels: Pixels) -> torch.Tensor:
    """Map `(H, W, 3)` uint8 to `(1, 3, H, W)` float in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div_(255)[None]
