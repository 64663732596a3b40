"""Security curves, F1 against eps per threat model and defence, and where their chart has them."""

from __future__ import annotations

from typing import NamedTuple

from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, T4, Rows
from ansm_plugin.report.style import COLOURS

_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 16, 40
_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)  # of F1, that have a line


class Tick(NamedTuple):
    """A number at an axis, and how far along it, in pixels."""

    value: float
    at: float


class Point(NamedTuple):
    """A radius in grey levels and the F1 at it, with the place in pixels."""

    eps: float
    f1: float
    x: float
    y: float


class Curve(NamedTuple):
    """One line of the chart, from left to right."""

    name: str
    colour: str
    is_dashed: bool
    points: tuple[Point, ...]


class Chart(NamedTuple):
    """What the template draws; all places and sizes in pixels, from the upper left corner.

    Attributes:
        width: of the picture.
        height: of the picture.
        left: where the axes begin.
        right: where they end.
        levels: F1 at the vertical axis.
        radii: eps at the horizontal one.
        curves: in the order of the legend.
    """

    width: int
    height: int
    left: int
    right: int
    levels: tuple[Tick, ...]
    radii: tuple[Tick, ...]
    curves: tuple[Curve, ...]


def curves(rows: Rows) -> dict[str, list[tuple[float, float]]]:
    """Return F1 by eps of the strongest attack, per threat and defence; eps 0 is the original.

    T1 for every defence, T4 for the defended localizer.
    """
    original = {row.defence: row.f1 for row in rows.only(threat=T0, attack=NO_ATTACK)}
    lowest: dict[tuple[str, str], dict[float, float]] = {}
    for row in rows:
        if row.threat in (T1, T4) and row.norm == "linf":  # a radius in l2 says something else
            points = lowest.setdefault((row.threat, row.defence), {})
            points[row.eps_255] = min(row.f1, points.get(row.eps_255, 1.0))
    names = {BARE: "bare", DEFENDED: "ANSM"}
    return {
        f"{threat} {names.get(defence, defence)}": sorted(
            {0.0: original.get(defence, 0.0), **points}.items()
        )
        for (threat, defence), points in lowest.items()
    }


def chart(rows: Rows) -> Chart | None:
    """Return the curves in their places; None where nothing was attacked in T1 or T4."""
    found = curves(rows)
    if not found:
        return None
    radii = sorted({eps for points in found.values() for eps, _ in points})
    return Chart(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        levels=tuple(Tick(f1, _y(f1)) for f1 in _LEVELS),
        radii=tuple(Tick(eps, _x(eps, radii[-1])) for eps in radii),
        curves=tuple(
            Curve(
                name,
                COLOURS[index % len(COLOURS)],
                index >= len(COLOURS) or T4 in name,
                tuple(Point(eps, f1, _x(eps, radii[-1]), _y(f1)) for eps, f1 in points),
            )
            for index, (name, points) in enumerate(found.items())
        ),
    )


def _x(eps: float, highest: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * eps / highest


def _y(f1: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - f1)
