"""Several processes that share one piece of work, as `torchrun` or `accelerate launch` start them.

Nothing here changes what is computed: work is cut into parts whose results depend on their number
alone, each process does its own parts, and all of them end with everything. Who does not say that
there are several processes is `ALONE`, also under a launcher: a training script of the user's own
may evaluate in one of its processes while the others do something else.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from torch import distributed

from ansm_plugin.errors import AnsmError
from ansm_plugin.files import unwritable

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
    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    return Processes(state.process_index, state.num_processes)


def part_of(path: Path, among: Processes) -> Path:
    """Return the file of lines that this process writes: `path`, or `NAME.RANK.SUFFIX` beside it.

    Two processes must not append to one file: over a network their lines would mix.
    """
    return path if among.is_first else path.with_name(f"{path.stem}.{among.rank}{path.suffix}")


def absorb_parts(path: Path) -> None:
    """Move the lines of all processes, of whatever number, into `path`.

    A line that a kill cut short stays short, on a line of its own.

    Raises:
        ConfigError: a file cannot be read or written.
    """
    for part in _parts(path):
        try:
            is_torn = path.exists() and path.read_bytes()[-1:] not in (b"", b"\n")
            with path.open("ab") as stream:
                stream.write(b"\n" * is_torn + part.read_bytes())
            part.unlink()  # a kill before this leaves lines twice, which changes nothing
        except OSError as error:
            raise unwritable(path, error) from error


def _parts(path: Path) -> list[Path]:
    name = re.compile(rf"{re.escape(path.stem)}\.\d+{re.escape(path.suffix)}")
    beside = path.parent.iterdir() if path.parent.is_dir() else ()
    return sorted(file for file in beside if name.fullmatch(file.name))


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into an event, so that a step is finished before a checkpoint."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event  # signals belong to the main thread
        return
    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, lambda *_: event.set()) for kind in kinds}
    try:
        yield event
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
