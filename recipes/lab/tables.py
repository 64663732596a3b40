"""Print the tables of the proof from its evaluations.

    PYTHONPATH=recipes python -m lab.tables FOLDER

FOLDER holds `BED-KIND.json`, each the `evaluation.json` that `row.sh` made.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    NO_ATTACK,
    T0,
    T1,
    T2,
    T4,
    WORST,
    Defence,
    Evaluation,
    Row,
    Threat,
)
from ansm_plugin.metrics.defence import harm, recovery


class Result:
    """One evaluation, with the figures that the proof asks of it.

    Raises:
        ConfigError: the file holds no evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.evaluation = Evaluation.from_json(json.loads(path.read_text()), str(path))
        self.rows = self.evaluation.rows
        self.alarms = tuple(dict.fromkeys(self.evaluation.alarm_names or ()))
        self.defences = tuple(dict.fromkeys(row.defence for row in self.rows))

    def row(self, threat: Threat, attack: str, eps: float, defence: Defence) -> Row | None:
        """Return a row, None where it was not measured."""
        found = self.rows.only(threat=threat, attack=attack, eps_255=eps, defence=defence)
        return found[0] if found else None

    def f1(self, threat: Threat, attack: str, eps: float, defence: Defence) -> float:
        """Return F1, NaN where it was not measured."""
        row = self.row(threat, attack, eps, defence)
        return row.f1 if row else float("nan")

    def clean(self, defence: Defence = BARE) -> float:
        """Return F1 of original images."""
        return self.f1(T0, NO_ATTACK, 0.0, defence)

    def harm(self, defence: Defence = DEFENDED) -> float:
        """Return what a defence costs on original images."""
        return harm(self.clean(), self.clean(defence))

    def recovery(self, threat: Threat, attack: str, eps: float) -> float:
        """Return the share of the loss that the ANSM gives back; NaN where nothing was lost."""
        scores = (self.f1(threat, attack, eps, defence) for defence in (BARE, DEFENDED))
        found = recovery(self.clean(), *scores)
        return float("nan") if found is None else found

    def attacks(self, threat: Threat) -> list[tuple[str, float]]:
        """Return attacks and radii of a threat, in their order."""
        rows = self.rows.only(threat=threat)
        return list(dict.fromkeys((row.attack, row.eps_255) for row in rows))

    def false_positives(self) -> float:
        """Return the pixels of authentic images that the ANSM newly marks, in per cent."""
        shares = (self.rows.clean(defence).false_positive_share for defence in (BARE, DEFENDED))
        bare, defended = (float("nan") if share is None else share for share in shares)
        return 100 * (defended - bare)

    def white_box(self, eps: float) -> float:
        """Return what the strongest attacker who knows the module leaves of F1."""
        return min(self.f1(T4, a, e, DEFENDED) for a, e in self.attacks(T4) if e == eps)

    def unseen(self, eps: float = 8.0) -> float:
        """Return the recovery under the worst attack of T2 per image.

        Evaluations of 0.1 have no such row: of them it is the least recovery of any.
        """
        if self.row(T2, WORST, eps, DEFENDED):
            return self.recovery(T2, WORST, eps)
        return min(self.recovery(T2, attack, e) for attack, e in self.attacks(T2) if e == eps)

    def distance(self, eps: float = 4.0) -> float:
        """Return F1 above the best baseline of no more harm, under T1, as a share of clean F1."""
        rivals = [d for d in self.defences if d != DEFENDED and self.harm(d) <= max(0, self.harm())]
        best = max(self.f1(T1, WORST, eps, d) for d in rivals)
        return (self.f1(T1, WORST, eps, DEFENDED) - best) / self.clean()


def aims(results: Sequence[Result]) -> Iterator[str]:
    """Yield the lines of the table that holds every result against what the proof asks for."""
    yield "| | aim | " + " | ".join(r.name for r in results) + " |"
    yield "|---|---|" + "---|" * len(results)
    unseen = [r.unseen() for r in results]
    lines: list[tuple[str, str, list[float]]] = [
        ("F1 of originals, bare", "", [r.clean() for r in results]),
        (
            "bare under PGD-10 at 8, as a share of that",
            "<= 0.30",
            [r.f1(T1, "pgd", 8.0, BARE) / r.clean() for r in results],
        ),
        *(
            (
                f"recovery, worst of T1 at {eps:g}",
                aim,
                [r.recovery(T1, WORST, eps) for r in results],
            )
            for eps, aim in ((2.0, ">= 0.95"), (4.0, ">= 0.95"), (8.0, ">= 0.90"), (12.0, ""))
        ),
        ("recovery, worst of the unseen attacks at 8", ">= 0.85", unseen),
        ("harm", "<= 0.01", [r.harm() for r in results]),
        ("new false positives, % of pixels", "<= 0.10", [r.false_positives() for r in results]),
        ("above the best baseline at 4, x clean", ">= 0.15", [r.distance() for r in results]),
        *(
            (f"T4, worst at {eps:g}: F1 left", "none", [r.white_box(eps) for r in results])
            for eps in (2.0, 4.0, 8.0)
        ),
    ]
    for title, aim, values in lines:
        yield f"| {title} | {aim} | " + " | ".join(f"{v:z.3f}" for v in values) + " |"


def whole(result: Result) -> Iterator[str]:
    """Yield the lines of the table of one evaluation: every attack and every defence."""
    yield f"### {result.name}"
    yield ""
    yield "| threat | attack | eps | " + " | ".join(result.defences) + " |"
    yield "|---|---|---|" + "---|" * len(result.defences)
    for threat in dict.fromkeys(row.threat for row in result.rows):
        for attack, eps in result.attacks(threat):
            cells = [_cell(result.row(threat, attack, eps, d), d) for d in result.defences]
            yield f"| {threat} | {attack} | {eps:g} | " + " | ".join(cells) + " |"
    yield ""


def _cell(row: Row | None, defence: Defence) -> str:
    if row is None:
        return "-"
    has_interval = defence == DEFENDED and row.has_interval
    interval = f" ({row.f1_low:.2f} to {row.f1_high:.2f})" if has_interval else ""
    return f"{row.f1:.3f}{interval}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = [Result(path) for path in sorted(Path(sys.argv[1]).glob("*.json"))]
    print("\n".join(aims(found)), end="\n\n")
    for one in found:
        print("\n".join(whole(one)))
