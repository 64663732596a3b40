"""Fits of a line, one step after another, and signals that interrupt them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Step, StepOutput, Turn, fit
from ansm_plugin.training.randomness import seeded

QUICK = FitConfig(
    steps=40, learning_rate=0.2, warmup=2, averaging=0.0, precision="fp32", checkpoint_every=100
)


def line() -> nn.Linear:
    """Return a module of two parameters, always the same."""
    with seeded(3):
        return nn.Linear(1, 1)


def toward(slope: float, module: nn.Module, before: Callable[[], None] = lambda: None) -> Step:
    """Return a step that fits y = slope * x + 1 on fresh points."""

    def step(turn: Turn) -> StepOutput:
        before()
        x = turn.share.of(torch.randn(16, 1, generator=turn.generator))
        return StepOutput((module(x) - slope * x - 1).square().mean(), {"points": len(x)})

    return step


def run(
    folder: Path,
    module: nn.Module,
    step: Step | None = None,
    config: FitConfig = QUICK,
    identity: dict[str, Any] | None = None,
    progress: Progress = silent,
) -> dict[str, Tensor]:
    """Fit and return the resulting state."""
    fit(
        "line", module, step or toward(3, module), config,
        folder=folder, identity=identity or {}, progress=progress,
    )  # fmt: skip
    return {k: v.clone() for k, v in module.state_dict().items()}


def interrupted_after(count: int, kind: signal.Signals) -> Callable[[], None]:
    """Return a function whose call number `count` sends a signal to this process."""
    calls: list[int] = []

    def call() -> None:
        calls.append(1)
        if len(calls) == count:
            os.kill(os.getpid(), kind)

    return call


def checkpoint(folder: Path) -> Path:
    return folder / "line.checkpoint.safetensors"
