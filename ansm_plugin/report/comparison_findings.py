"""What runs found beside F1, side by side: harm and recovery, framing, transplant, alarms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ansm_plugin.evaluation.framing import framed
from ansm_plugin.evaluation.results import BARE, DEFENDED, Evaluation
from ansm_plugin.report.transplanted import transplant_figures

About = Literal["harm", "framing", "transplant", "alarms"]
Value = float | str
_OF_EACH = Mapping[str, Value]  # what one run found, by name


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One figure of each run.

    Attributes:
        about: what it belongs to.
        name: what it is.
        values: a number, or words such as a verdict; None where the run did not measure it, or
            where the file of an older version does not name its alarms.
        digits: behind the point, of a number.
    """

    about: About
    name: str
    values: tuple[Value | None, ...]
    digits: int = 3

    def as_json(self) -> dict[str, Any]:
        """Return the fields but for the digits, which are for the eye."""
        return {"about": self.about, "name": self.name, "values": list(self.values)}


def findings(evaluations: Sequence[Evaluation]) -> Iterator[Finding]:
    """Yield what any of the runs found, in the order in which it is shown."""
    yield from _side_by_side("harm", [_harm(e) for e in evaluations])
    yield from _side_by_side("framing", [_framing(e) for e in evaluations])
    figures = [list(transplant_figures(e.transplant)) for e in evaluations]
    digits = {figure.name: figure.digits for found in figures for figure in found}
    values = [{figure.name: figure.value for figure in found} for found in figures]
    yield from _side_by_side("transplant", values, digits)
    yield from _alarms(evaluations)


def _side_by_side(
    about: About, found: Sequence[_OF_EACH], digits: Mapping[str, int] | None = None
) -> Iterator[Finding]:
    for name in dict.fromkeys(name for values in found for name in values):
        values = tuple(each.get(name) for each in found)
        yield Finding(about=about, name=name, values=values, digits=(digits or {}).get(name, 3))


def _harm(evaluation: Evaluation) -> _OF_EACH:
    summary = evaluation.summary
    recovery = {
        f"recovery, {key}": "no damage" if share is None else share
        for key, share in summary["recovery"].items()
    }
    return {"harm, F1 lost on original images": summary["harm"], **recovery}


def _framing(evaluation: Evaluation) -> _OF_EACH:
    shown = {BARE: "bare", DEFENDED: "ANSM"}
    return {
        f"{row.threat} {row.key}, {shown.get(row.defence, row.defence)}": figure
        for row, figure in framed(evaluation.framing)
    }


def _alarms(evaluations: Sequence[Evaluation]) -> Iterator[Finding]:
    named = [() if not e.alarms else e.alarm_names for e in evaluations]
    for name in dict.fromkeys(name for names in named for name in names or ()):
        values = (None if names is None else "yes" if name in names else "no" for names in named)
        yield Finding(about="alarms", name=name, values=tuple(values))
