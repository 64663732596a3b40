"""Print the table of the ablations and draw it, from what `ablations.sh` wrote.

    PYTHONPATH=recipes python -m lab.ablations RUNS OUTPUT.png

RUNS holds `VARIANT.json` of `ansm evaluate --threat T0,T1`; the numbers behind the picture are
written as JSON beside it. Recovery is that of the attack of T1 that leaves the least of each image.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from matplotlib.figure import Figure

from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, WORST
from ansm_plugin.metrics.defence import harm, recovery

LEVELS = (2.0, 4.0, 8.0)  # grey levels
COLOURS = ("#56B4E9", "#0072B2", "#D55E00")  # Okabe and Ito


@dataclass(frozen=True)
class Variant:
    """What one choice gives: recovery at each of `LEVELS`, and F1 lost on originals."""

    name: str
    recovery: tuple[float, ...]
    harm: float


def read_variant(path: Path) -> Variant:
    """Return the figures of one evaluation.

    Raises:
        KeyError: the evaluation lacks a row that the table needs.
    """
    rows = json.loads(path.read_text())["rows"]
    f1 = {(r["threat"], r["attack"], r["eps_255"], r["defence"]): r["f1"] for r in rows}
    bare, clean = (f1[T0, NO_ATTACK, 0.0, defence] for defence in (BARE, DEFENDED))
    found = (
        recovery(bare, f1[T1, WORST, eps, BARE], f1[T1, WORST, eps, DEFENDED]) for eps in LEVELS
    )
    shares = tuple(float("nan") if share is None else share for share in found)
    return Variant(path.stem, shares, harm(bare, clean))


def table(variants: Sequence[Variant]) -> str:
    """Return the variants as a Markdown table."""
    lines = ["| variant | recovery at 2 / 4 / 8 | harm |", "|---|---|---|"]
    for variant in variants:
        shares = " / ".join(f"{share:.3f}" for share in variant.recovery)
        lines.append(f"| {variant.name} | {shares} | {variant.harm:+.3f} |")
    return "\n".join(lines)


def draw(variants: Sequence[Variant], path: Path) -> None:
    """Draw recovery as one row of points for every variant, and harm beside it."""
    figure = Figure(figsize=(9, 0.32 * len(variants) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    heights = range(len(variants))
    for level, (eps, colour) in enumerate(zip(LEVELS, COLOURS, strict=True)):
        shares = [variant.recovery[level] for variant in variants]
        left.plot(shares, heights, "o", color=colour, label=f"{eps:g}/255")
    right.barh(heights, [variant.harm for variant in variants], color="#999999")
    left.set_yticks(heights, [variant.name for variant in variants])
    left.invert_yaxis()
    left.set_xlabel("recovery under T1, worst attack of each image")
    right.set_xlabel("harm (F1)")
    left.legend(loc="best")
    left.grid(axis="both", alpha=0.3)
    figure.savefig(path, dpi=120)


def main(runs: Path, picture: Path) -> None:
    """Print, draw and keep the figures of all variants in a folder."""
    paths = sorted(runs.glob("*.json"), key=lambda p: p.stem)
    # The reference leads, so that every other row is read against it.
    paths.sort(key=lambda p: not p.stem.startswith("reference"))
    variants = [read_variant(path) for path in paths]
    print(table(variants))
    draw(variants, picture)
    picture.with_suffix(".json").write_text(json.dumps([asdict(v) for v in variants], indent=1))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
