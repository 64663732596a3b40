"""The numbers to quote of an evaluation."""

from __future__ import annotations

from typing import Literal, TypedDict

WhiteBox = Literal["bound", "estimate"]


class Figures(TypedDict):
    """What every summary has."""

    f1_clean: float
    f1_defended_clean: float
    harm: float
    recovery: dict[str, float | None]
    f1_white_box: dict[str, float]


class Intervals(TypedDict, total=False):
    """Ends of 95 % intervals over photographs, None where they are not defined.

    Those of the recovery are by attack and radius. Files of 0.1 have none.
    """

    harm_low: float | None
    harm_high: float | None
    recovery_low: dict[str, float | None]
    recovery_high: dict[str, float | None]


class Summary(Figures, Intervals, total=False):
    """The numbers to quote; recovery and harm always together.

    `white_box` says what the T4 figures are: "bound", where all attacks of `config.BOUND_ATTACKS`
    searched at every radius as long as that asks for, or "estimate", which is too high. It is
    missing where T4 was not run.
    """

    white_box: WhiteBox
