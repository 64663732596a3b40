"""What table and page say alike: of the attacker who knows the module, and of intervals."""

from __future__ import annotations

from ansm_plugin.evaluation.results import NO_ATTACK, T0, WORST, Evaluation, Row
from ansm_plugin.evaluation.summary import WhiteBox
from ansm_plugin.metrics.intervals import FEWEST_SOURCES

_BOUND = "a bound: APGD on margin, Dice and Jensen-Shannon at every radius, worst of each image"
_ESTIMATE = "an estimate, which more and longer attacks lower"
_KINDS: dict[WhiteBox | None, str] = {"bound": _BOUND, "estimate": _ESTIMATE}


def white_box_kind(evaluation: Evaluation) -> str:
    """Return what the T4 figures are, in words; "" of results that do not say."""
    return _KINDS.get(evaluation.summary.get("white_box"), "")


def attack_name(row: Row) -> str:
    """Return the name of an attack as a sentence has it."""
    return "worst of all attacks" if row.attack == WORST else row.attack.upper()


def counted(row: Row) -> str:
    """Return how many images a row is of, and how many photographs where those are fewer."""
    images = f"{row.images} images"
    return images if row.photographs is None else f"{images} of {row.photographs} photographs"


def interval(row: Row) -> str:
    """Return the interval of F1 of a row, with what it is over."""
    if not row.has_interval:
        return f"interval not defined: {row.sources} photographs"
    return f"95 % interval {row.f1_low:.3f} to {row.f1_high:.3f}, {counted(row)}"


def doubtful_intervals(evaluation: Evaluation) -> str:
    """Return what is to be known of the intervals; "" where each image is a photograph."""
    row = next(r for r in evaluation.rows if (r.threat, r.attack) == (T0, NO_ATTACK))
    if not row.has_interval:
        return (
            f"Interval not defined: {row.sources} photographs; it needs {FEWEST_SOURCES} or more."
        )
    if row.photographs is None:
        return ""
    return f"Intervals are over photographs: {counted(row)}."


def between(low: float | None, high: float | None, digits: str) -> str:
    """Return an interval in brackets behind its figure; "" where it is not defined."""
    return "" if low is None or high is None else f" [{low:{digits}} to {high:{digits}}]"
