"""One piece of work after the other, by several processes of this machine; results in order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
Made = TypeVar("Made")


def spread(
    make: Callable[[Item], Made],
    items: Sequence[Item],
    workers: int,
    *,
    tell: Callable[[Item], object],
    install: Callable[..., None] | None = None,
    given: tuple[Any, ...] = (),
) -> list[Made]:
    """Return `make(item)` of each item, in their order, whatever the number of processes.

    Ctrl-C ends it soon: what was not begun is dropped, and no process stays behind.

    Args:
        make: the work; it can be pickled, as items and results can.
        items: what is worked on; each should take seconds at most.
        workers: processes; with 1 all is done in this one.
        tell: called here with each item once it is finished, in their order.
        install: called once in each process before the work, with what all items share.
        given: what it is called with.
    """
    install = install or _nothing
    if workers == 1:
        install(*given)
        return [_told(make(item), item, tell) for item in items]
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(install, given)) as pool:
        try:
            with _ctrl_c_held_back():  # the first of them starts the processes
                waiting = deque((item, pool.submit(make, item)) for item in items)
            made = []
            while waiting:
                item, future = waiting.popleft()
                made.append(_told(future.result(), item, tell))
        except BaseException:  # Ctrl-C too; else all that was handed in would be waited for
            pool.shutdown(cancel_futures=True)
            raise
    return made


def _told(made: Made, item: Item, tell: Callable[[Item], object]) -> Made:
    tell(item)
    return made


def _nothing() -> None:
    """Install nothing."""


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Keep Ctrl-C waiting while processes start: a young one would print a traceback of its own.

    They are born with the signal held back and let it go once they ignore it. Windows, which
    has no such mask, starts processes that Ctrl-C reaches early.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- one worker process -------------------------------------------------------------------------


def _begin(install: Callable[..., None], given: tuple[Any, ...]) -> None:
    """Leave Ctrl-C to the process that waits for the results, and end where that is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # one that waits since its birth is dropped
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has the handler of the command line
    threading.Thread(target=_end_with_parent, daemon=True).start()
    install(*given)


def _end_with_parent() -> None:
    """End where the parent was killed: nobody else would, and each holds all photographs."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
