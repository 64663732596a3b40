"""What table and page say alike: of the attacker who knows the module, and of intervals."""

from __future__ import annotations

from collections.abc import Mapping

from ansm_plugin.evaluation.results import NO_ATTACK, T0, WORST, Evaluation, Row
from ansm_plugin.evaluation.summary import WhiteBox
from ansm_plugin.metrics.intervals import FEWEST_SOURCES

_BOUND = "a bound: APGD on margin, Dice and Jensen-Shannon at every radius, worst of each image"
_ESTIMATE = "an estimate, which more and longer attacks lower"
_KINDS: dict[WhiteBox | None, str] = {"bound": _BOUND, "estimate": _ESTIMATE}


def white_box_kind(evaluation: Evaluation) -> str:
    """Return what the T4 figures are, in words; "" of results that do not say."""
    return _KINDS.get(evaluation.summary.get("white_box"), "")


def given_back(recovery: Mapping[str, float | None]) -> str:
    """Return in a sentence what comes back of what attackers of T1 take, also where none did."""
    if not recovery:
        return "No attacker who does not know the module was run."
    known = [share for share in recovery.values() if share is not None]
    if not known:
        return "Attackers who do not know the module took nothing that could be given back."
    least, most = (f"{share:.0%}" for share in (min(known), max(known)))
    share = least if least == most else f"{least} to {most}"
    return f"Of what attackers take who do not know the module, ANSM gives back {share}."


def harm_words(harm: float) -> str:
    """Return what the ANSM does to the F1 of original images, without a full stop."""
    shown = round(harm, 3)
    if not shown:
        return f"ANSM costs none of it (harm {shown:+z.3f})"
    return f"ANSM {'costs' if shown > 0 else 'adds'} {abs(shown):.3f} (harm {shown:+z.3f})"


def photographs(count: int) -> str:
    """Return "1 photograph" or "3 photographs"."""
    return f"{count} photograph{'' if count == 1 else 's'}"


def attack_name(row: Row) -> str:
    """Return the name of an attack as a sentence has it."""
    return "worst of all attacks" if row.attack == WORST else row.attack.upper()


def counted(row: Row) -> str:
    """Return how many images a row is of, and how many photographs where those are fewer."""
    images = f"{row.images} image{'' if row.images == 1 else 's'}"
    return images if row.photographs is None else f"{images} of {photographs(row.photographs)}"


def interval(row: Row) -> str:
    """Return the interval of F1 of a row, with what it is over."""
    if not row.has_interval:
        return f"interval not defined: {photographs(row.sources)}"
    return f"95 % interval {row.f1_low:.3f} to {row.f1_high:.3f}, {counted(row)}"


def doubtful_intervals(evaluation: Evaluation) -> str:
    """Return what is to be known of the intervals; "" where each image is a photograph."""
    originals = evaluation.rows.only(threat=T0, attack=NO_ATTACK)
    if not originals:
        return ""
    row = originals[0]
    if not row.has_interval:
        return (
            f"Interval not defined: {photographs(row.sources)}; it needs {FEWEST_SOURCES} or more."
        )
    if row.photographs is None:
        return ""
    return f"Intervals are over photographs: {counted(row)}."


def between(low: float | None, high: float | None, digits: str) -> str:
    """Return an interval in brackets behind its figure; "" where it is not defined."""
    return "" if low is None or high is None else f" [{low:{digits}} to {high:{digits}}]"
