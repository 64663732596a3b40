"""What a training hands to a recipe at each step, and what it gets back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

Logs = dict[str, float]


def accept(logs: Logs) -> None:
    """Require nothing of the numbers of a step."""


class StepOutput(NamedTuple):
    """What a step returns.

    Attributes:
        loss: the scalar to minimise.
        logs: numbers to show: floats, or scalars on the device, which no step waits for.
        require: called with these numbers once they are read, which `Readings` may put off for a
            few steps; raises TrainingError where they end the training.
    """

    loss: Tensor
    logs: Mapping[str, float | Tensor]
    require: Callable[[Logs], None] = accept


@dataclass(frozen=True)
class Share:
    """Which share of a global batch this process computes.

    Attributes:
        rank: number of the process, from 0.
        count: of processes.
    """

    rank: int
    count: int

    def of(self, batch: Tensor) -> Tensor:
        """Return this process's rows. Shape: `(B, ...)` -> about `(B / count, ...)`."""
        return batch.tensor_split(self.count)[self.rank]


WHOLE = Share(0, 1)


@dataclass(frozen=True)
class Turn:
    """Where a step stands.

    Attributes:
        index: of the step, from 0 to below the `steps` of its `FitConfig`.
        generator: source of all that the step draws, made from the seed and `index` alone: the
            same for any number of processes, and after a resume.
        share: of the batch that this process computes.
    """

    index: int
    generator: torch.Generator
    share: Share = WHOLE


Step = Callable[[Turn], StepOutput]
