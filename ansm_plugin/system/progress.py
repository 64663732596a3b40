"""How long work says where it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[str, int, int, dict[str, float]], None]


def silent(name: str, step: int, steps: int, logs: dict[str, float]) -> None:
    """Show nothing."""
