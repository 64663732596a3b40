"""Print what modules really do, from evaluations: one table, one column a module.

    PYTHONPATH=recipes python -m lab.truth RESULT.json[,MORE.json...] [...]

`truth.sh` makes the evaluations. Those that commas join are one column: each brings its threats, in
place of what those before it say of them; originals are the first one's. "-" is what none measured.
`unconverged` is about T4: that of a file whose T4 another takes the place of is left out.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ansm_plugin.evaluation.framing import framed
from ansm_plugin.evaluation.results import DEFENDED, T0, T1, T4, T35, WORST, Rows
from lab.tables import Result

UNCONVERGED = "unconverged"  # the alarm that T4 falls with twice the steps

Figure = Callable[[Result], float | None]

RADII = (2.0, 4.0, 8.0)
FRAMED = (4.0, 8.0)
WHITE_BOX = (1.0, 2.0, 4.0)


def excess(result: Result) -> float | None:
    """Return F1 of the transplanted perturbation above that of another picture's."""
    found = result.evaluation.transplant
    return found.f1 - found.control_f1 if found else None


def of_transplant(name: str) -> Figure:
    """Return the figure that reads a field of the transplant test."""
    return lambda result: getattr(result.evaluation.transplant, name, None)


def framing(eps: float) -> Figure:
    """Return the figure of the worst frame at a radius: `framed`, for the worst attack of T1."""

    def worst(result: Result) -> float | None:
        rows = framed(result.evaluation.framing)
        lifts = [
            lift
            for row, lift in rows
            if row.defence == DEFENDED and row.threat == T1 and row.eps_255 == eps
        ]
        return max(lifts, default=None)

    return worst


def left(threat: str, eps: float) -> Figure:
    """Return the figure of F1 that a threat leaves at a radius, its worst attack per image."""

    def f1(result: Result) -> float | None:
        rows = [
            row
            for row in result.rows
            if (row.threat, row.eps_255, row.defence) == (threat, eps, DEFENDED)
        ]
        worst = [row.f1 for row in rows if row.attack == WORST]
        return min(worst or [row.f1 for row in rows], default=None)

    return f1


def as_share(figure: Figure) -> Figure:
    """Return a figure over F1 of originals, bare."""

    def share(result: Result) -> float | None:
        found = figure(result)
        return None if found is None else found / result.clean()

    return share


def measured(figure: Callable[[Result], float]) -> Figure:
    """Return a figure that is None where it is NaN: not measured."""

    def found(result: Result) -> float | None:
        value = figure(result)
        return None if value != value else value

    return found


def recovered(eps: float) -> Figure:
    """Return the figure of recovery under the worst of T1, decoys and marks and swaps included."""
    return measured(lambda result: result.recovery(T1, WORST, eps))


def joined(paths: str) -> Result:
    """Return one evaluation with the threats of others, given as paths with commas."""
    first, *others = (Result(Path(path)) for path in paths.split(","))
    for other in others:
        new = [row for row in other.rows if row.threat != T0]
        threats = {row.threat for row in new}
        first.rows = Rows((*(row for row in first.rows if row.threat not in threats), *new))
        kept = [a for a in first.alarms if not (a == UNCONVERGED and T4 in threats)]
        first.alarms = tuple(dict.fromkeys((*kept, *other.alarms)))
    return first


ROWS: list[tuple[str, str, Figure]] = [
    ("F1 of originals, bare", "", measured(Result.clean)),
    *((f"recovery, worst of T1 at {e:g}", aim, recovered(e))
      for e, aim in zip(RADII, (">= 0.95", ">= 0.95", ">= 0.90"), strict=True)),
    ("harm", "<= 0.005", measured(lambda result: result.harm())),
    ("new false positives, percentage points", "<= 0.1", measured(Result.false_positives)),
    ("grey levels added to originals, rms", "<= 1.0", of_transplant("rms_255")),
    ("transplant above control", "<= 0.05", excess),
    *((f"framing at {e:g}", "<= 0.02", framing(e)) for e in FRAMED),
    ("distance from the original, behind over before", "<= 0.9", of_transplant("distance_ratio")),
    *((f"T4 at {e:g}, F1 left", "", left(T4, e)) for e in WHITE_BOX),
    ("T3.5 at 4, x clean", ">= 0.6", as_share(left(T35, 4.0))),
]  # fmt: skip


def table(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table, as Markdown."""
    yield "| | aim | " + " | ".join(result.name for result in results) + " |"
    yield "|---|---|" + "---|" * len(results)
    for title, aim, figure in ROWS:
        values = [figure(result) for result in results]
        shown = ("-" if value is None else f"{value:z.3f}" for value in values)
        yield f"| {title} | {aim} | " + " | ".join(shown) + " |"
    alarms = (", ".join(result.alarms) or "none" for result in results)
    yield "| alarms | none | " + " | ".join(alarms) + " |"


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print("\n".join(table([joined(paths) for paths in sys.argv[1:]])))
