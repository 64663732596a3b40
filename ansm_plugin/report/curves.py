"""Security curves as inline SVG: F1 against eps, per threat model and defence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

Fields = Mapping[str, Any]
_WIDTH, _HEIGHT = 640, 340
_LEFT, _RIGHT, _TOP, _BOTTOM = 48, 16, 16, 40
# Okabe and Ito: told apart with any colour vision, on light and dark ground.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def curves(rows: Sequence[Fields]) -> dict[str, list[tuple[float, float]]]:
    """Return F1 by eps of the strongest attack, per threat and defence; eps 0 is the original.

    T1 for every defence, T4 for the defended localizer.
    """
    original = {r["defence"]: r["f1"] for r in rows if (r["threat"], r["attack"]) == ("T0", "none")}
    lowest: dict[tuple[str, str], dict[float, float]] = {}
    for row in rows:
        if row["threat"] not in ("T1", "T4"):
            continue
        points = lowest.setdefault((row["threat"], row["defence"]), {})
        points[row["eps_255"]] = min(row["f1"], points.get(row["eps_255"], 1.0))
    names = {"none": "bare", "ansm": "ANSM"}
    return {
        f"{threat} {names.get(defence, defence)}": sorted(
            {0.0: original.get(defence, 0.0), **points}.items()
        )
        for (threat, defence), points in lowest.items()
    }


def draw_curves(rows: Sequence[Fields]) -> str:
    """Return a figure with the curves and their legend; text where nothing was attacked."""
    found = curves(rows)
    if not found:
        return "<p>No attack of T1 or T4 was run.</p>"
    highest = max(eps for points in found.values() for eps, _ in points)
    lines = [*_axes(sorted({e for p in found.values() for e, _ in p}), highest)]
    legend = []
    for index, (name, points) in enumerate(found.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        dash = ' stroke-dasharray="6 4"' if index >= len(_COLOURS) or "T4" in name else ""
        path = " ".join(f"{_x(e, highest):.1f},{_y(f1):.1f}" for e, f1 in points)
        lines.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"{dash}/>'
        )
        lines += [
            f'<circle cx="{_x(e, highest):.1f}" cy="{_y(f1):.1f}" r="4" fill="{colour}">'
            f"<title>{escape(name)}, eps {e:g}/255: F1 {f1:.3f}</title></circle>"
            for e, f1 in points
        ]
        legend.append(f'<li><span style="background:{colour}"></span>{escape(name)}</li>')
    inner = "\n".join(lines)
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="F1 against eps">\n{inner}\n</svg>\n<ul class="legend">{"".join(legend)}</ul>'
        "<figcaption>Mean F1 that the strongest attack leaves, against its radius in grey levels. "
        "T1 does not know the module, T4 does.</figcaption></figure>"
    )


def _axes(radii: Sequence[float], highest: float) -> Iterator[str]:
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = _y(tick)
        yield f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end">{tick:g}</text>'
    for eps in radii:
        yield (
            f'<text x="{_x(eps, highest):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">'
            f"{eps:g}</text>"
        )
    yield (
        f'<text x="{_WIDTH / 2}" y="{_HEIGHT - 2}" text-anchor="middle">eps in grey levels</text>'
    )


def _x(eps: float, highest: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * eps / highest


def _y(f1: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - f1)
