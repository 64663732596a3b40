"""Hunts: cases of one kind of malformed input, and what must hold for each of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st


class Hunt(NamedTuple):
    """Cases of one kind of input and what must hold for each of them."""

    name: str
    cases: st.SearchStrategy[Any]
    check: Callable[[Path, Any], None]


@st.composite
def damaged(draw: st.DrawFn, sources: Callable[[], list[bytes]]) -> bytes:
    """Draw one of the sources, with bytes changed, cut off, doubled or put in."""
    found = sources()
    content = bytearray(found[draw(st.integers(0, len(found) - 1))])
    # The first bytes say what the rest is; most damage goes there.
    near = st.integers(0, min(len(content) - 1, 400))
    anywhere = st.integers(0, len(content) - 1)
    for place, value in draw(st.lists(st.tuples(near | anywhere, st.integers(0, 255)), max_size=6)):
        content[place] = value
    huge = struct.pack("<q", draw(st.sampled_from([-1, 2**31 - 1, 2**31, 2**62, 10**6])))
    how = draw(st.sampled_from(["as it is", "cut", "huge", "doubled", "noise"]))
    place = draw(near | anywhere)
    if how == "cut":
        del content[place:]
    elif how == "huge":
        size = draw(st.sampled_from([2, 4, 8]))
        content[place : place + size] = huge[:size][:: draw(st.sampled_from([1, -1]))]
    elif how == "doubled":
        content[place:place] = content[place : place + draw(st.integers(1, 200))]
    elif how == "noise":
        content[place:place] = draw(st.binary(max_size=40))
    return bytes(content)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["float32", "F32", "../../etc/passwd", "<script>", "\x1b[31m"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
