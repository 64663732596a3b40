"""What an evaluation found, and its JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypedDict

from ansm_plugin.evaluation.cost import Cost
from ansm_plugin.metrics.defence import harm, recovery

Threat = Literal["T0", "T1", "T2", "T3", "T4", "T5", "T6"]
Defence = str  # "none" is the bare localizer, "ansm" the defended one; others are baselines

THREATS: dict[Threat, str] = {
    "T0": "no attack",
    "T1": "knows the localizer, not the module",
    "T2": "as T1, with attacks or radii that training did not have",
    "T3": "knows another localizer alone",
    "T4": "knows localizer and module",
    "T5": "as T1; the image passes a channel before the defence",
    "T6": "sees the scores of the defended localizer alone",
}
WORST = "worst"  # name of the rows that take the strongest attack for each image


@dataclass(frozen=True, kw_only=True)
class Row:
    """Mean scores of one defence under one attack.

    Attributes:
        threat: what the attacker knows, a key of `THREATS`.
        attack: name in `attacks.ATTACKS`, "none", or "worst": the strongest of all for each image.
        eps_255: radius in grey levels; 0 without attack.
        steps: gradient steps of the attack; 0 without attack.
        defence: "none" is the bare localizer, "ansm" the defended one, others are baselines.
        f1: mean F1 over forged images.
        f1_low: lower end of its 95 % bootstrap interval.
        f1_high: upper end.
        iou: mean over forged images.
        auc: mean over forged images; None where no image has one.
        images: number of forged images.
        permuted_f1: mean over forged images of the better of mask and inverted mask.
        f1_by_area: mean F1 by quarter of forged area, smallest first; None below 8 images.
        false_positive_share: mean over authentic images; None where not measured.
        psnr: of the attacked image against the original in dB, mean; of the suppressed one in the
            defended row of T0.
        ssim: likewise.
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
    permuted_f1: float | None = None
    f1_by_area: tuple[float, ...] | None = None
    false_positive_share: float | None = None
    psnr: float | None = None
    ssim: float | None = None

    @property
    def key(self) -> str:
        """Attack and radius, such as "pgd@8"."""
        return f"{self.attack}@{self.eps_255:g}"

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without those that were not measured; `auc` is always there."""
        return {k: v for k, v in asdict(self).items() if k == "auc" or v is not None}


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
        rows: scores, T0 first.
        summary: the numbers to quote.
        alarms: reasons to distrust the numbers, in plain words.
        command: command line that made it, or "".
        versions: of the packages that decide the result.
        seed: of random starts and bootstrap.
        cost: per defence, what it adds to the localizer; empty where not measured.
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
    cost: Mapping[str, Cost] = field(default_factory=dict)

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
            **({"cost": {d: asdict(c) for d, c in self.cost.items()}} if self.cost else {}),
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
    return next(r for r in rows if (r.threat, r.attack, r.defence) == ("T0", "none", defence))


def strongest_white_box(rows: tuple[Row, ...]) -> list[Row]:
    """Return the T4 row with the lowest F1 of each radius, smallest radius first."""
    found: dict[float, Row] = {}
    for row in (row for row in rows if row.threat == "T4"):
        found[row.eps_255] = min(found.get(row.eps_255, row), row, key=lambda r: r.f1)
    return [found[eps] for eps in sorted(found)]


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
