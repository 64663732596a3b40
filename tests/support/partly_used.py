"""A line with parameters that get no gradient: one nowhere, one in the first process alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ansm_plugin.training.loop import Step, StepOutput, Turn
from ansm_plugin.training.randomness import seeded

ROWS = 16


class PartlyUsed(nn.Module):
    """y = weight * x + bias; the first half of a batch is moved by `first`, `spare` is not used."""

    def __init__(self) -> None:
        super().__init__()
        with seeded(3):
            self.line = nn.Linear(1, 1)
        self.spare = nn.Parameter(torch.ones(2, 3))
        self.first = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, rank: int) -> Tensor:
        """Shape: rows of one process `(N, 1)` -> the same."""
        y: Tensor = self.line(x)
        if rank == 0:
            y = torch.cat([y[: ROWS // 2] + self.first, y[ROWS // 2 :]])
        return y


def fitting(module: PartlyUsed) -> Step:
    """Return a step towards y = 3 x + 1, one more in the first half of a batch."""

    def step(turn: Turn) -> StepOutput:
        x = torch.randn(ROWS, 1, generator=turn.generator)
        y = 3 * x + 1
        y[: ROWS // 2] += 1
        x, y = turn.share.of(x), turn.share.of(y)
        return StepOutput((module(x, turn.share.rank) - y).square().mean(), {})

    return step
