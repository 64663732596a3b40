"""Progress of a long command: a bar on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from ansm_plugin.system.progress import Progress

_SECONDS_BETWEEN_LINES = 10.0
_SHOWN = ("loss", "saturated", "f1_check")  # of all that a step logs


@contextlib.contextmanager
def show_progress(console: Console) -> Iterator[Progress]:
    """Yield a `Progress` to call with name, finished steps, all steps and logs."""
    if os.environ.get("RANK", "0") != "0":  # one of many processes speaks
        yield lambda name, step, steps, logs: None
    elif console.is_terminal:
        with _bar(console) as bar:
            yield _on_bar(bar)
    else:
        yield _in_lines(console)


def summary(logs: dict[str, float]) -> str:
    """Return the numbers worth showing, e.g. "loss 0.1234  saturated 0.1 %"."""
    texts = {"loss": "loss {:.4g}", "saturated": "saturated {:.1%}"}
    texts["f1_check"] = "F1 under a long attack {:.2f}"
    return "  ".join(texts[key].format(logs[key]) for key in _SHOWN if key in logs)


def _bar(console: Console) -> Bar:
    return Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[logs]}"),
        console=console,
    )


def _on_bar(bar: Bar) -> Progress:
    tasks: dict[str, TaskID] = {}

    def progress(name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=steps, logs="")
        bar.update(tasks[name], completed=step, total=steps, logs=summary(logs))

    return progress


def _in_lines(console: Console) -> Progress:
    last_line: dict[str, float] = {}

    def progress(name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        now = time.monotonic()
        is_due = now - last_line.get(name, -_SECONDS_BETWEEN_LINES) >= _SECONDS_BETWEEN_LINES
        if is_due or step == steps:
            last_line[name] = now
            console.print(f"{name} {step}/{steps}  {summary(logs)}".rstrip(), highlight=False)

    return progress
