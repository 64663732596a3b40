"""Draw F1 restored against cost, and write the points as JSON beside the picture.

    PYTHONPATH=recipes python -m lab.pareto OUTPUT.png NAME=EVALUATION.json ...

Each JSON is one of `ansm evaluate --threat T0,T1` on the same images before the same localizer,
with the ANSM called NAME; rivals come from `--baselines cheap` of any of them. F1 is what the worst
attack of T1 leaves for each image at `EPS`, cost the time that a defence adds as a share of the
localizer's, both from the JSON (`--cost-size 512` measures it where a clock can).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, WORST
from ansm_plugin.metrics.defence import harm, recovery

EPS = 4.0  # grey levels
ATTACKED = (T1, WORST, EPS)
ORIGINAL = (T0, NO_ATTACK, 0.0)
OURS, RIVAL, ALONE = "#0072B2", "#999999", "#D55E00"  # Okabe and Ito, and grey
FASTEST = 1e-3  # of the localizer's time: a clock tells nothing apart below


@dataclass(frozen=True)
class Point:
    """One defence: what it costs and what it leaves.

    Attributes:
        name: preset, or label of a baseline.
        is_ansm: whether it is one of ours.
        time: added to the localizer's, as a share of it.
        gmac: multiply-adds added, as a share of the localizer's; None where that has none.
        f1: under the worst attack of T1 for each image.
        recovery: share of the lost F1 that comes back; None where nothing was lost.
        harm: F1 lost on originals.
        is_best: whether no other defence is both cheaper and better.
    """

    name: str
    is_ansm: bool
    time: float
    gmac: float | None
    f1: float
    recovery: float | None
    harm: float
    is_best: bool = False


def points_of(name: str, evaluation: Mapping[str, Any]) -> list[Point]:
    """Return the defences of one evaluation whose cost was measured."""
    f1 = {
        (row["defence"], (row["threat"], row["attack"], row["eps_255"])): row["f1"]
        for row in evaluation["rows"]
    }
    clean, attacked = f1[BARE, ORIGINAL], f1[BARE, ATTACKED]
    return [
        Point(
            name=name if defence == DEFENDED else defence,
            is_ansm=defence == DEFENDED,
            time=cost["time_ratio"],
            gmac=cost["gmac_ratio"],
            f1=f1[defence, ATTACKED],
            recovery=recovery(clean, attacked, f1[defence, ATTACKED]),
            harm=harm(clean, f1[defence, ORIGINAL]),
        )
        for defence, cost in evaluation.get("cost", {}).items()
    ]


def marked(points: Sequence[Point]) -> list[Point]:
    """Return the points, cheapest first, with those marked that nothing cheaper beats."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.time, -p.f1)):
        best = all(point.f1 > other.f1 for other in found)
        found.append(Point(**{**asdict(point), "is_best": best}))
    return found


def draw(points: Sequence[Point], bare: Mapping[str, float], size: Sequence[int], to: Path) -> None:
    """Write the PNG: cost on a logarithmic axis, F1 upwards, the best joined by a line."""
    figure = Figure(figsize=(9.0, 5.4), layout="constrained")
    axes = figure.subplots()
    for label, f1 in bare.items():
        axes.axhline(f1, color=ALONE, linestyle=":", label=f"bare localizer, {label} (F1 {f1:.3f})")
    best = [p for p in points if p.is_best]
    axes.step(
        [max(FASTEST, p.time) for p in best], [p.f1 for p in best],
        where="post", color="black", linewidth=1, label="nothing cheaper is better",
    )  # fmt: skip
    for index, point in enumerate(points):
        at = (max(FASTEST, point.time), point.f1)
        axes.plot(*at, "o" if point.is_ansm else "s", color=OURS if point.is_ansm else RIVAL)
        text = f"ANSM {point.name}" if point.is_ansm else point.name
        above = (5, 5 if index % 2 else -12)  # so that neighbours' names do not meet
        axes.annotate(text, at, above, textcoords="offset points", fontsize=8, parse_math=False)
    axes.set_xscale("log")
    axes.set_xlim(FASTEST / 2, 8 * max(p.time for p in points))
    axes.set_ylim(-0.05, 1.05)
    axes.set_xlabel(f"time added, as a share of the localizer's ({size[1]}x{size[0]} pixels)")
    axes.set_ylabel(f"F1 that the worst attack of T1 leaves at {EPS:g}/255")
    axes.grid(alpha=0.3)
    axes.legend(loc="best", fontsize=8)
    figure.savefig(to, dpi=120)


def main(arguments: Sequence[str]) -> None:
    """Read the evaluations, draw the picture and write the points beside it."""
    target = Path(arguments[0])
    found = {}
    for argument in arguments[1:]:
        name, _, file = argument.partition("=")
        found[name] = json.loads(Path(file).read_text(encoding="utf-8"))
    points = marked([point for name, fields in found.items() for point in points_of(name, fields)])
    rows = [row for fields in found.values() for row in fields["rows"] if row["defence"] == BARE]
    names = {ORIGINAL: "originals", ATTACKED: "attacked"}
    bare = {
        names[key]: row["f1"]
        for row in rows
        if (key := (row["threat"], row["attack"], row["eps_255"])) in names
    }
    sizes = [tuple(c["size"]) for fields in found.values() for c in fields["cost"].values()]
    target.parent.mkdir(parents=True, exist_ok=True)
    draw(points, bare, sizes[0], target)
    table = {"eps_255": EPS, "size": sizes[0], "bare": bare, "points": [asdict(p) for p in points]}
    target.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) < 3 or not all("=" in argument for argument in sys.argv[2:]):
        sys.exit(__doc__)
    main(sys.argv[1:])
