"""The device of a training, and accelerate's part in it: gradients of several processes."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import is_initialized

from ansm_plugin.system.device import current_device
from ansm_plugin.system.processes import processes


def training_device() -> torch.device:
    """Return the device that `fit` computes on: that of `system.device.computing_on`."""
    return current_device()


def accelerator() -> Accelerator:
    """Return what joins the gradients of this process and the others of its launch."""
    processes()  # joins them first, with patience for the slowest
    # One that an earlier training made here keeps its own device: `training_device` decides.
    cpu = training_device().type == "cpu" and not is_initialized()
    return Accelerator(cpu=cpu, mixed_precision="no")
