"""Small tensors on their way to a device, while the host goes on."""

from __future__ import annotations

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on a device, without waiting until it is there.

    CUDA takes it from memory that stays in place; from any other memory, and to other kinds of
    device, the host waits for the copy.
    """
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
