"""Two or more evaluations side by side: what differs in what they found, and in how.

The first run is the reference; the difference of each other one is its F1 minus that of the first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ansm_plugin.evaluation.results import Evaluation, Row
from ansm_plugin.metrics.intervals import FEWEST_SOURCES, bootstrap_interval, count_sources
from ansm_plugin.report.comparison_findings import Finding, findings
from ansm_plugin.report.per_photograph import PerImage, PerPhotograph
from ansm_plugin.report.settings import Setting, settings_that_differ, warnings_of

_Key = tuple[str, str, float, str]  # threat, attack, eps_255, defence


@dataclass(frozen=True, kw_only=True)
class Run:
    """One evaluation with its name.

    Attributes:
        name: as the user wrote it, such as the path of its folder.
        evaluation: what it found.
        values: F1 of single images; without records there are none.
    """

    name: str
    evaluation: Evaluation
    values: PerPhotograph


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How far the F1 of a run lies above that of the first.

    Attributes:
        f1: over the images that both share; where single images are not known, of the two means.
        low: lower end of its paired 95 % bootstrap interval over photographs; None: not defined.
        high: upper end.
        images: that both share; None where single images are not known.
        photographs: that these come from; None likewise.
    """

    f1: float
    low: float | None = None
    high: float | None = None
    images: int | None = None
    photographs: int | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the interval is defined and 0 lies outside it."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """The same attack before the same defence in all runs that have it.

    Attributes:
        threat: what the attacker knows.
        attack: name of the row.
        eps_255: radius in grey levels.
        defence: who is attacked.
        f1: of each run; None where it has no such row.
        differences: of each run but the first; None where it or the first has no such row.
    """

    threat: str
    attack: str
    eps_255: float
    defence: str
    f1: tuple[float | None, ...]
    differences: tuple[Difference | None, ...]

    @property
    def is_in_all(self) -> bool:
        """Whether every run has such a row."""
        return None not in self.f1


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What several runs have in common, and what not.

    Attributes:
        names: of the runs, the reference first.
        evaluations: of the runs.
        warnings: why figures may not be comparable, in plain words.
        settings: what differs in how they were made.
        pairings: one per threat, attack, radius and defence, in the order of the runs.
        findings: what was found beside F1.
    """

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    warnings: tuple[str, ...]
    settings: tuple[Setting, ...]
    pairings: tuple[Pairing, ...]
    findings: tuple[Finding, ...]

    @property
    def shared(self) -> tuple[Pairing, ...]:
        """What all runs have."""
        return tuple(pairing for pairing in self.pairings if pairing.is_in_all)

    @property
    def partial(self) -> tuple[Pairing, ...]:
        """What some runs lack."""
        return tuple(pairing for pairing in self.pairings if not pairing.is_in_all)

    def as_json(self) -> dict[str, Any]:
        """Return all but the evaluations, which have files of their own."""
        return {
            "runs": [
                {
                    "name": name,
                    "localizer": e.localizer,
                    "ansm": e.ansm,
                    "images": e.images,
                    "alarms": list(e.alarms),
                }
                for name, e in zip(self.names, self.evaluations, strict=True)
            ],
            "warnings": list(self.warnings),
            "settings": [asdict(setting) for setting in self.settings],
            "rows": [asdict(pairing) for pairing in self.pairings],
            "findings": [finding.as_json() for finding in self.findings],
        }


def compare(runs: Sequence[Run]) -> Comparison:
    """Set runs side by side.

    Args:
        runs: two or more; the first is what the others are compared with.
    """
    rows = [{_key(row): row for row in run.evaluation.rows} for run in runs]
    keys = dict.fromkeys(key for found in rows for key in found)
    evaluations = tuple(run.evaluation for run in runs)
    return Comparison(
        names=tuple(run.name for run in runs),
        evaluations=evaluations,
        warnings=tuple(_warnings(runs)),
        settings=tuple(settings_that_differ(evaluations)),
        pairings=tuple(_pairing(key, [found.get(key) for found in rows], runs) for key in keys),
        findings=tuple(findings(evaluations)),
    )


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    yield from warnings_of([(run.name, run.evaluation) for run in runs])
    if without := [run.name for run in runs if not run.values]:
        yield (
            f"No interval of differences: {', '.join(without)} came without records of single "
            "images. Name the folder that `ansm evaluate --output` wrote."
        )


def _key(row: Row) -> _Key:
    return row.threat, row.attack, row.eps_255, row.defence


def _pairing(key: _Key, rows: Sequence[Row | None], runs: Sequence[Run]) -> Pairing:
    threat, attack, eps_255, defence = key
    first, *others = zip(rows, runs, strict=True)
    return Pairing(
        threat=threat,
        attack=attack,
        eps_255=eps_255,
        defence=defence,
        f1=tuple(None if row is None else row.f1 for row in rows),
        differences=tuple(_difference(first, other) for other in others),
    )


def _difference(first: tuple[Row | None, Run], other: tuple[Row | None, Run]) -> Difference | None:
    (row, run), (other_row, other_run) = first, other
    if row is None or other_row is None:
        return None
    mine, theirs = run.values.of(row), other_run.values.of(other_row)
    if mine is not None and theirs is not None:
        found = paired(mine, theirs, run.evaluation.seed)
        if found is not None:
            return found
    return Difference(f1=other_row.f1 - row.f1)


def paired(first: PerImage, other: PerImage, seed: int) -> Difference | None:
    """Return the mean difference over images that both share; None where they share none.

    Records hold no names: an image is shared that lies in the same place of both runs, comes from
    the same photograph, and has the same forged area.

    Args:
        first: of the reference.
        other: of the run whose F1 counts as positive.
        seed: decides the resampling; both runs see the same resamples.
    """
    where = {place: i for i, place in enumerate(other.place)}
    both = [(i, where[place]) for i, place in enumerate(first.place) if place in where]
    if not both:
        return None
    mine, theirs = (torch.tensor(numbers) for numbers in zip(*both, strict=True))
    change = other.f1[theirs] - first.f1[mine]
    is_same = (first.area[mine] == other.area[theirs]) & (
        first.source[mine] == other.source[theirs]
    )
    kept = is_same & ~change.isnan()
    if not bool(kept.any()):
        return None
    change, source = change[kept], first.source[mine][kept]
    count = count_sources(source)
    low, high = bootstrap_interval(change, source, seed=seed)
    is_defined = count >= FEWEST_SOURCES and not math.isnan(low)
    return Difference(
        f1=float(change.mean()),
        low=low if is_defined else None,
        high=high if is_defined else None,
        images=len(change),
        photographs=count,
    )
