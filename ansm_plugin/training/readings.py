"""The numbers of steps, which stay on the device until several of them are read at once.

To read one makes the host wait for all that the device has to do before it, and the device for the
host after it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ansm_plugin.training.step import Logs, accept

MOST_LATE = 20  # steps that a number may wait to be read on a device that computes by itself


@dataclass(frozen=True)
class Note:
    """Numbers of one step.

    Attributes:
        index: of the step, from 0.
        numbers: by name; scalars on any device.
        require: as in `StepOutput`.
    """

    index: int
    numbers: Mapping[str, float | Tensor]
    require: Callable[[Logs], None] = accept


@dataclass(frozen=True)
class Reading:
    """A `Note` that was read: its numbers are floats."""

    index: int
    numbers: Logs
    require: Callable[[Logs], None]


class Readings:
    """Keeps numbers of steps, and reads all of them in one transfer.

    Args:
        every: steps between two reads; 1 reads every step at once.
        steps: of the training; the last one is read at once.
    """

    def __init__(self, every: int, steps: int) -> None:
        self._every, self._steps = every, steps
        self._waiting: list[Note] = []

    def are_due(self, index: int) -> bool:
        """Return whether numbers are read at step `index`; those of the first and last step are."""
        return index % self._every == 0 or index + 1 == self._steps

    def add(self, note: Note) -> None:
        """Keep the numbers of a step."""
        self._waiting.append(note)

    def read(self) -> list[Reading]:
        """Return all that was kept, in its order; nothing is kept any more."""
        notes, self._waiting = self._waiting, []
        tensors = [n for note in notes for n in note.numbers.values() if isinstance(n, Tensor)]
        values = iter(_floats(tensors))
        return [
            Reading(
                note.index,
                {k: next(values) if isinstance(n, Tensor) else n for k, n in note.numbers.items()},
                note.require,
            )
            for note in notes
        ]


def reads_every(device: torch.device) -> int:
    """Return after how many steps numbers are read: at once where the host itself computes."""
    return 1 if device.type == "cpu" else MOST_LATE


def _floats(tensors: list[Tensor]) -> list[float]:
    """Return scalars as floats, with one wait for each device that they are on."""
    by_device: dict[torch.device, list[int]] = {}
    for place, tensor in enumerate(tensors):
        by_device.setdefault(tensor.device, []).append(place)
    values = [0.0] * len(tensors)
    for device, places in by_device.items():
        wide = torch.float32 if device.type == "mps" else torch.float64  # which MPS lacks
        together = torch.stack([tensors[place].detach().to(wide) for place in places])
        for place, value in zip(places, together.tolist(), strict=True):
            values[place] = value
    return values
