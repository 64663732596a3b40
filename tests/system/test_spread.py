"""Work of several processes: in order, told as it goes, nothing left behind when it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from ansm_plugin.system.spread import spread

# One of four processes is at work while the others are not yet quite born.
PROGRAM = """
import os, signal, time
from ansm_plugin.system.spread import spread

# A shell that starts the tests in the background lets them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

def work(item):
    time.sleep({seconds} if item == 2 else 0)

births = []
os.register_at_fork(
    before=lambda: births.append(1), after_in_child=lambda: time.sleep(0.2 * len(births))
)
try:
    spread(work, range(3), 4, tell=lambda item: print(item, flush=True))
except KeyboardInterrupt:
    print("stopped", flush=True)
"""
GROUPS = pytest.mark.skipif(not hasattr(os, "killpg"), reason="Windows has no process groups")


def squared(number: int) -> int:
    return number * number


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order_and_are_told(workers: int) -> None:
    told: list[int] = []
    assert spread(squared, range(7), workers, tell=told.append) == [n * n for n in range(7)]
    assert told == list(range(7))


_shared: list[int] = []


def remember(number: int) -> None:
    _shared[:] = [number]


def added(number: int) -> int:
    return number + _shared[0]


@pytest.mark.parametrize("workers", [1, 2])
def test_every_process_is_handed_what_items_share(workers: int) -> None:
    found = spread(added, [1, 2, 3], workers, tell=squared, install=remember, given=(10,))
    assert found == [11, 12, 13]


def test_what_was_not_begun_is_dropped_on_ctrl_c() -> None:
    def stop(_: float) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        spread(time.sleep, [0.1] * 200, 2, tell=stop)
    assert time.monotonic() - began < 5  # of ten seconds of work
    assert not multiprocessing.active_children()


@pytest.fixture
def program(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Start a program in a group of its own; two pieces of its work are finished."""
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(seconds=request.param)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as started:
        assert started.stdout is not None
        assert [started.stdout.readline() for _ in range(2)] == ["0\n", "1\n"]
        yield started
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


@GROUPS
@pytest.mark.parametrize("program", [1], indirect=True)
def test_ctrl_c_in_a_terminal_is_answered_by_one_process(program: subprocess.Popen[str]) -> None:
    """A terminal sends it to all; the workers would print a traceback each."""
    os.killpg(program.pid, signal.SIGINT)
    said, complained = program.communicate(timeout=30)
    assert said.endswith("stopped\n")
    assert complained == ""


@GROUPS
@pytest.mark.parametrize("program", [60], indirect=True)
def test_workers_end_with_a_parent_that_was_killed(program: subprocess.Popen[str]) -> None:
    """They hold its streams open as long as they live."""
    program.kill()
    program.communicate(timeout=30)
