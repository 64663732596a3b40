"""Differentiable augmentation of images with their masks, by kornia.

Three places use it: before the attack (`dihedral`, `photometric`), between attack and ANSM
(`channel`: what a platform does to an uploaded image), and inside an attack (EOT over `channel`).
"""

from __future__ import annotations

import torch
from torch import Tensor


def dihedral(
    images: Tensor, masks: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Flip and turn a batch of square crops by one random element of the dihedral group.

    Exact: no pixel value changes. Shape: `(B, C, S, S)` and `(B, 1, S, S)` -> the same.
    """
    flip, turns = torch.randint(2, (), generator=generator), torch.randint(4, (), generator=generator)
    if flip:
        images, masks = images.flip(3), masks.flip(3)
    return images.rot90(int(turns), (2, 3)), masks.rot90(int(turns), (2, 3))
