"""Modes, flags and devices of modules: changed for a while, and given back as they were.

A mode is set on each module by itself, never by `eval()`: SMP skips a frozen encoder there and
keeps its dropout alive.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


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
    """Return the device of a module's first parameter; the CPU where it has none."""
    return next((p.device for p in module.parameters()), torch.device("cpu"))
