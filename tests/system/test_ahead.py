"""Reading ahead and writing behind: order, bounds, errors."""

from __future__ import annotations

import threading
import time

import pytest

from ansm_plugin.system.ahead import overlapped


def test_results_are_those_of_the_steps_in_order() -> None:
    found = overlapped(range(5), lambda i: i * 10, lambda i, r: (i, r), lambda i, m: (i, *m))
    assert list(found) == [(i, i, i * 10) for i in range(5)]
    assert list(overlapped([], str, lambda i, r: r, lambda i, m: m)) == []


def test_work_stays_in_the_calling_thread_and_the_others_leave_it() -> None:
    def where(*_: object) -> int:
        return threading.get_ident()

    ((read, work), write), _ = overlapped(
        "ab", where, lambda i, r: (r, where()), lambda i, m: (m, where())
    )
    assert work == where()
    assert len({read, work, write}) == 3


def test_steps_overlap() -> None:
    """Each step waits for the others' next item: done one after the other it would never end."""
    read_next, working = threading.Event(), threading.Event()

    def read(item: int) -> int:
        if item == 1:
            assert working.wait(10)
            read_next.set()
        return item

    def work(item: int, found: int) -> int:
        if item == 0:
            working.set()
            assert read_next.wait(10)  # the second is read while the first is worked on
        return found

    assert list(overlapped([0, 1], read, work, lambda i, m: m)) == [0, 1]


def test_at_most_three_items_are_in_memory() -> None:
    alive, most, lock = 0, 0, threading.Lock()

    def read(item: int) -> int:
        nonlocal alive, most
        with lock:
            alive += 1
            most = max(most, alive)
        return item

    def write(item: int, made: int) -> int:
        nonlocal alive
        time.sleep(0.01)  # a slow disk
        with lock:
            alive -= 1
        return made

    assert list(overlapped(range(8), read, lambda i, r: r, write)) == list(range(8))
    assert most <= 3


@pytest.mark.parametrize("step", ["read", "work", "write"])
def test_an_error_is_raised_and_what_was_made_before_is_written(step: str) -> None:
    written = []

    def fails(name: str, item: int) -> None:
        if name == step and item == 2:
            raise ValueError(f"in {name}")

    def read(item: int) -> None:
        fails("read", item)

    def work(item: int, _: None) -> None:
        fails("work", item)

    def write(item: int, _: None) -> None:
        fails("write", item)
        written.append(item)

    with pytest.raises(ValueError, match=f"in {step}"):
        list(overlapped(range(5), read, work, write))
    assert written[:2] == [0, 1]


def test_ctrl_c_lets_the_writer_finish() -> None:
    written = []

    def work(item: int, _: int) -> int:
        if item == 1:
            raise KeyboardInterrupt
        return item

    def write(item: int, made: int) -> None:
        time.sleep(0.05)
        written.append(made)

    with pytest.raises(KeyboardInterrupt):
        list(overlapped([0, 1, 2], lambda i: i, work, write))
    assert written == [0]
