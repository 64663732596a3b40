"""What two tables of JSON differ in, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansm_plugin.system.text import one_line

_MOST_NAMED, _MOST_SHOWN = 5, 80  # fields of one message, characters of a value
_ABSENT = object()


def differences(there: Any, now: Any) -> str:
    """Return "fit.steps is 300 there and 200 now; ..." for two values that JSON can hold.

    Fields of tables in tables are named by their path; one that a table lacks is "not set".
    """
    found = list(_differing("", there, now))
    more = f"; {len(found) - _MOST_NAMED} more" if len(found) > _MOST_NAMED else ""
    return "; ".join(found[:_MOST_NAMED]) + more


def _differing(path: str, there: Any, now: Any) -> Iterator[str]:
    if isinstance(there, Mapping) and isinstance(now, Mapping):
        for name in dict.fromkeys([*there, *now]):
            below = f"{path}.{name}" if path else str(name)
            yield from _differing(below, there.get(name, _ABSENT), now.get(name, _ABSENT))
    elif _are_alike(there, now):
        for number, pair in enumerate(zip(there, now, strict=True), start=1):
            yield from _differing(f"{path} {number}".strip(), *pair)
    elif there != now:
        yield f"{one_line(path or 'it')} is {_shown(there)} there and {_shown(now)} now"


def _are_alike(there: Any, now: Any) -> bool:
    """Return whether two values are lists of as many tables."""
    are_lists = isinstance(there, list) and isinstance(now, list) and len(there) == len(now)
    return are_lists and all(isinstance(entry, Mapping) for entry in [*there, *now])


def _shown(value: Any) -> str:
    return "not set" if value is _ABSENT or value is None else one_line(value, most=_MOST_SHOWN)
