"""Modes, flags and devices of modules: changed for a while, and given back as they were.

A mode is set on each module by itself, never by `eval()`: SMP skips a frozen encoder there and
keeps its dropout alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

# Others are of storage alone: 8 bits of a float, or of an integer.
_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


@contextmanager
def frozen_eval(*modules: nn.Module) -> Iterator[None]:
    """Put all submodules in eval mode and freeze all parameters; afterwards all is as before.

    Without it an attack adds its gradients to those of a training step, and BatchNorm learns from
    attacked images.
    """
    modes = [(m, m.training) for module in modules for m in module.modules()]
    flags = [(p, p.requires_grad) for module in modules for p in module.parameters()]
    set_eval(*modules)
    for parameter, _ in flags:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for m, mode in modes:
            m.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def set_eval(*modules: nn.Module) -> None:
    """Put all submodules in eval mode, whatever their own `eval` and `train` do."""
    for module in modules:
        for m in module.modules():
            m.training = False


def device_of(module: nn.Module) -> torch.device:
    """Return the device that a module computes on: that of its first parameter; else the CPU.

    Where accelerate keeps parameters elsewhere until they are needed, it is where they are put.
    """
    for parameter in module.parameters():
        if parameter.is_meta:
            return offloaded_to(module) or parameter.device
        return parameter.device
    return torch.device("cpu")


def offloaded_to(module: nn.Module) -> torch.device | None:
    """Return the device of execution of a module that accelerate offloads, or None."""
    for part in module.modules():
        device = getattr(getattr(part, "_hf_hook", None), "execution_device", None)
        if device is not None:
            return torch.device(device)
    return None


def dtype_of(module: nn.Module) -> torch.dtype | None:
    """Return the dtype that a module computes in: that of its first parameter of a usual one.

    None where it has none, as modules that are quantised throughout.
    """
    for parameter in module.parameters():
        if parameter.dtype in _DTYPES:
            return parameter.dtype
    return None


def autocast(device: torch.device, *, to_bf16: bool) -> AbstractContextManager[Any]:
    """Return a context that runs in bfloat16, or as the dtypes are; "meta" knows neither."""
    if device.type == "meta":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, enabled=to_bf16)
