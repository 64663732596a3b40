"""What an evaluation found, and its JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypedDict

from ansm_plugin.evaluation.metrics import harm, recovery

Threat = Literal["T0", "T1", "T4"]
Defence = Literal["none", "ansm"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """Mean scores of one defence under one attack.

    Attributes:
        threat: what the attacker knows: T0 no attack, T1 the localizer, T4 localizer and ANSM.
        attack: name in `attacks.ATTACKS`, or "none".
        eps_255: radius in grey levels; 0 without attack.
        steps: gradient steps of the attack; 0 without attack.
        defence: "none" is the bare localizer.
        f1: mean F1 over forged images.
        f1_low: lower end of its 95 % bootstrap interval.
        f1_high: upper end.
        iou: mean over forged images.
        auc: mean over forged images; None where no image has one.
        images: number of forged images.
        false_positive_share: mean over authentic images; None where not measured.
    """

    threat: Threat
    attack: str
    eps_255: float
    steps: int
    defence: Defence
    f1: float
    f1_low: float
    f1_high: float
    iou: float
    auc: float | None
    images: int
    false_positive_share: float | None = None

    @property
    def key(self) -> str:
        """Attack and radius, such as "pgd@8"."""
        return f"{self.attack}@{self.eps_255:g}"

    def as_json(self) -> dict[str, Any]:
        """Return the fields; `false_positive_share` only where it was measured."""
        fields = asdict(self)
        if self.false_positive_share is None:
            del fields["false_positive_share"]
        return fields


class Summary(TypedDict):
    """The numbers to quote; recovery and harm always together."""

    f1_clean: float
    f1_defended_clean: float
    harm: float
    recovery: dict[str, float | None]
    f1_white_box: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Rows and what follows from them.

    Attributes:
        localizer: name of the localizer.
        ansm: name of the ANSM.
        images: number of all images, authentic ones included.
        rows: scores; T0 first, then T1 and T4.
        summary: the numbers to quote.
        alarms: reasons to distrust the numbers, in plain words.
        command: command line that made it, or "".
        versions: of the packages that decide the result.
        seed: of random starts and bootstrap.
    """

    localizer: str
    ansm: str
    images: int
    rows: tuple[Row, ...]
    summary: Summary
    alarms: tuple[str, ...]
    command: str
    versions: dict[str, str]
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Return the JSON schema that `demo` and `evaluate` share."""
        return {
            "localizer": self.localizer,
            "ansm": self.ansm,
            "images": self.images,
            "rows": [row.as_json() for row in self.rows],
            "summary": dict(self.summary),
            "alarms": list(self.alarms),
            "command": self.command,
            "versions": dict(self.versions),
            "seed": self.seed,
        }

    def pairs(self) -> Iterator[tuple[Row, Row]]:
        """Yield the bare and the defended row of each attack of T1."""
        return row_pairs(self.rows)


def row_pairs(rows: tuple[Row, ...]) -> Iterator[tuple[Row, Row]]:
    """Yield the bare and the defended row of each attack of T1."""
    defended = {row.key: row for row in rows if (row.threat, row.defence) == ("T1", "ansm")}
    for row in rows:
        if (row.threat, row.defence) == ("T1", "none"):
            yield row, defended[row.key]


def clean_row(rows: tuple[Row, ...], defence: Defence) -> Row:
    """Return the row of original images."""
    return next(row for row in rows if (row.threat, row.defence) == ("T0", defence))


def summarise(rows: tuple[Row, ...]) -> Summary:
    """Return harm, recovery per attack and the white-box F1."""
    clean, defended_clean = (clean_row(rows, d).f1 for d in ("none", "ansm"))
    return {
        "f1_clean": clean,
        "f1_defended_clean": defended_clean,
        "harm": harm(clean, defended_clean),
        "recovery": {b.key: recovery(clean, b.f1, d.f1) for b, d in row_pairs(rows)},
        "f1_white_box": {row.key: row.f1 for row in rows if row.threat == "T4"},
    }
