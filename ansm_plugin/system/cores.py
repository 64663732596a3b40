"""How many processors work may be shared among."""

from __future__ import annotations

import os


def cores() -> int:
    """Return how many processors this process may use; a machine may have many more."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
