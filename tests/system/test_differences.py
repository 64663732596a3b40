"""What two tables differ in, in words."""

from __future__ import annotations

from typing import Any

import pytest

from ansm_plugin.system.differences import differences


@pytest.mark.parametrize(
    ("there", "now", "said"),
    [
        ({"a": 1}, {"a": 1}, ""),
        ({"steps": 10}, {"steps": 20}, "steps is 10 there and 20 now"),
        ({"fit": {"steps": 3, "x": 1}}, {"fit": {"steps": 2, "x": 1}},
         "fit.steps is 3 there and 2 now"),
        ({"a": None}, {"a": "x"}, "a is not set there and x now"),
        ({}, {"a": 1}, "a is not set there and 1 now"),
        ({"a": 1}, {}, "a is 1 there and not set now"),
        ({"eps": [2, 4]}, {"eps": [2]}, "eps is [2, 4] there and [2] now"),
        ({"of": [{"name": "a"}, {"name": "b"}]}, {"of": [{"name": "a"}, {"name": "c"}]},
         "of 2.name is b there and c now"),
        ("text", {"a": 1}, "it is text there and {'a': 1} now"),
        ({"a": {"b": 1}}, {"a": 2}, "a is {'b': 1} there and 2 now"),
    ],
)  # fmt: skip
def test_fields_are_named_by_their_path_with_both_values(there: Any, now: Any, said: str) -> None:
    assert differences(there, now) == said


def test_many_are_counted_and_long_ones_cut() -> None:
    there, now = ({str(n): f"{text}\x1b" * 99 for n in range(9)} for text in "ab")
    said = differences(there, now)
    assert said.endswith("; 4 more")
    assert "\x1b" not in said
    assert len(said) < 3000
