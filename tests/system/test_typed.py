"""Tables read as the types that wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import pytest

from ansm_plugin.errors import ConfigError
from ansm_plugin.system.typed import from_table


class Numbers(TypedDict):
    """A table in a table."""

    mean: float
    shares: dict[str, float | None]


@dataclass(frozen=True)
class Inner:
    """An entry of a list."""

    name: str


class Many(tuple[Inner, ...]):
    """A tuple with a name."""

    @property
    def names(self) -> list[str]:
        return [entry.name for entry in self]


@dataclass(frozen=True)
class Outer:
    """Every kind of field."""

    kind: Literal["a", "b"] | None
    pair: tuple[int, int]
    numbers: Numbers
    many: Many
    anything: dict[str, Any]
    flag: bool = False


TABLE: dict[str, Any] = {
    "kind": "a",
    "pair": [1, 2],
    "numbers": {"mean": 1, "shares": {"x": None, "y": 0.5}},
    "many": [{"name": "one"}, {"name": "two"}],
    "anything": {"deep": [1, "2"]},
}


def test_every_kind_of_field_is_read() -> None:
    found = from_table(Outer, TABLE, "it")
    assert found.many.names == ["one", "two"]
    assert found.numbers == {"mean": 1.0, "shares": {"x": None, "y": 0.5}}
    assert (found.kind, found.pair, found.flag) == ("a", (1, 2), False)
    assert from_table(Outer, TABLE | {"kind": None}, "it").kind is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "c"}, "value of it: kind 'c'"),
        ({"pair": [1]}, "it: pair has 1 entries; it must have 2"),
        ({"pair": None}, "it: pair is None; it must be a list"),
        ({"pair": [1, True]}, "it: pair is True; it must be of type int"),
        ({"numbers": {"mean": 1.0}}, "it: numbers has no shares"),
        ({"numbers": {"mean": float("nan"), "shares": {}}}, "mean is nan; it must be of type fl"),
        ({"numbers": {"mean": 1, "shares": {"x": "1"}}}, "shares: x is '1'; it must be of type fl"),
        ({"many": [{"name": "one"}, {}]}, "it: many, entry 2 has no name"),
        ({"many": [{"name": "one"}, {"nam": "two"}]}, "entry 2 'nam'. Nearest: name"),
        ({"many": [{"name": "one"}, 3]}, "it: many is 3; it must be a table"),
        ({"anything": []}, "it: anything is .*; it must be a table"),
        ({"flags": True}, "unknown field in it 'flags'. Nearest: flag"),
    ],
)
def test_whatever_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_table(Outer, TABLE | change, "it")


@pytest.mark.parametrize("table", [None, [], "text", 3])
def test_what_is_no_table_is_refused(table: object) -> None:
    with pytest.raises(ConfigError, match="it must be a table"):
        from_table(Outer, table, "it")
