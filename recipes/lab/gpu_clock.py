"""Seconds on a device, sizes of a measurement, and the rows that it fills."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median

import torch

NOT_MEASURED = "not measured"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large a measurement is.

    Attributes:
        device: what computes.
        images: of an attack.
        side: their height and width in pixels.
        steps: of an attack.
        forward_side: height and width for the module before its localizer.
        crops: of the training whose first step is waited for.
        crop_side: their height and width.
        split: of the built-in photographs that they are cut from.
        batch: images of a training step.
        rounds: that are timed, after one that is not.
        training_steps: that are timed together.
        demo: forged crops of `ansm demo`.
        patience: seconds after which a command is stopped.
    """

    device: torch.device
    images: int = 32
    side: int = 256
    steps: int = 10
    forward_side: int = 512
    crops: int = 1024
    crop_side: int = 224
    split: str = "train"
    batch: int = 32
    rounds: int = 5
    training_steps: int = 30
    demo: int = 96
    patience: float = 75.0


def full() -> Scale:
    """Return the sizes of the table, on the accelerator at hand."""
    found = torch.accelerator.current_accelerator()
    return Scale(device=torch.device("cpu") if found is None else found)


def dry() -> Scale:
    """Return the smallest sizes, on the CPU: what runs, and not how fast."""
    return Scale(
        device=torch.device("cpu"), images=2, side=32, steps=2, forward_side=64, crops=4,
        crop_side=32, split="test", batch=4, rounds=1, training_steps=2, demo=2, patience=300.0,
    )  # fmt: skip


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        what: is measured.
        before: on one H100, before this was begun.
        goal: to be reached.
        measure: returns the figures, as text; they mean nothing on another device than a GPU.
    """

    what: str
    before: str
    goal: str
    measure: Callable[[Scale], str]


def seconds(run: Callable[[], object], scale: Scale) -> float:
    """Return the median seconds of a run, after one that warms up."""
    taken = [_once(run, scale.device) for _ in range(scale.rounds + 1)]
    return median(taken[1:])


def seconds_by_turns(runs: Mapping[str, Callable[[], object]], scale: Scale) -> dict[str, float]:
    """Return the median seconds of each run; they take turns, so that noise is shared."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(scale.rounds + 1):
        for name, run in runs.items():
            taken[name].append(_once(run, scale.device))
    return {name: median(times[1:]) for name, times in taken.items()}


def _once(run: Callable[[], object], device: torch.device) -> float:
    _finish(device)
    began = time.perf_counter()
    run()
    _finish(device)
    return time.perf_counter() - began


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
