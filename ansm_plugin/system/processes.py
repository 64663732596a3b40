"""Several processes that share one piece of work, as `torchrun` or `accelerate launch` start them.

Nothing here changes what is computed: work is cut into parts whose results depend on their number
alone, each process does its own parts, and all of them end with everything. Who does not say that
there are several processes is `ALONE`, also under a launcher: a training script of the user's own
may evaluate in one of its processes while the others do something else.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from accelerate import PartialState
from torch import distributed

from ansm_plugin.errors import AnsmError
from ansm_plugin.system.device import current_device

T = TypeVar("T")
# The first process to finish waits for the last; torch gives up after half an hour.
_PATIENCE = timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that share the work."""

    rank: int
    count: int

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints for all."""
        return self.rank == 0

    def owns(self, part: int) -> bool:
        """Return whether part number `part` is this process's to do."""
        return part % self.count == self.rank

    def wait(self) -> None:
        """Return when all processes have come here."""
        if self.count > 1:
            self.gather(None)  # a barrier of NCCL asks for a device of its own

    def gather(self, value: T) -> list[T]:
        """Return the values of all processes, in order of their rank."""
        if self.count == 1:
            return [value]
        found: list[T | None] = [None] * self.count
        distributed.all_gather_object(found, value)
        return found  # type: ignore[return-value]

    def once(self, work: Callable[[], T]) -> T:
        """Do `work` in the first process and return its result in all; they share its AnsmError."""
        if self.count == 1:
            return work()
        outcome: list[T | AnsmError | None] = [None]
        if self.is_first:
            try:
                outcome = [work()]
            except AnsmError as error:
                outcome = [error]
        distributed.broadcast_object_list(outcome, src=0)
        if isinstance(outcome[0], AnsmError):
            raise outcome[0]
        return outcome[0]  # type: ignore[return-value]


ALONE = Processes(0, 1)


def processes() -> Processes:
    """Return the place of this process in its launch; `ALONE` where no launcher started it."""
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return ALONE
    # Joins them over gloo on CPUs and NCCL on GPUs; later Accelerators find them joined.
    state = PartialState(cpu=current_device().type == "cpu", timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes)
