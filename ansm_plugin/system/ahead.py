"""Work in three steps on one item after the other: reading runs ahead, writing runs behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")
Written = TypeVar("Written")


def overlapped(
    items: Sequence[Item],
    read: Callable[[Item], Read],
    work: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], Written],
) -> Iterator[Written]:
    """Yield `write(item, work(item, read(item)))` of each item, in their order.

    `work` stays in the calling thread. While it is at one item, one other thread reads the next and
    another writes the one before, so that at most three items are in memory. Whatever a step
    raises is raised here; what was made before is written first, also on Ctrl-C.

    Args:
        items: what is worked on.
        read: first step, in a thread of its own.
        work: second step.
        write: third step, in a thread of its own.
    """
    writing: deque[Future[Written]] = deque()
    with ThreadPoolExecutor(1, "writer") as writer, ThreadPoolExecutor(1, "reader") as reader:
        try:
            following = reader.submit(read, items[0]) if items else None
            for number, item in enumerate(items, start=1):
                assert following is not None
                found = following.result()
                following = reader.submit(read, items[number]) if number < len(items) else None
                made = work(item, found)
                del found
                if writing:  # the one before; else results would pile up before a slow disk
                    yield writing.popleft().result()
                writing.append(writer.submit(write, item, made))
                del made
            while writing:
                yield writing.popleft().result()
        finally:
            reader.shutdown(wait=True, cancel_futures=True)
