"""What a result of `ansm evaluate` says, read from its JSON, as lines of a model card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol

from ansm_plugin.errors import ConfigError
from ansm_plugin.metrics.intervals import FEWEST_SOURCES
from ansm_plugin.metrics.threats import BARE, DEFENDED, NO_ATTACK, T0, T4, THREATS, Threat
from ansm_plugin.system.text import one_line
from ansm_plugin.system.typed import from_table

_HEAD = (
    "| threat model | strongest attack | radius of 255 | forged images | F1 bare | F1 defended |\n"
    "|---|---|---|---|---|---|"
)


class HasJson(Protocol):
    """An `Evaluation`, as `ansm_plugin.evaluate` returns it."""

    def as_json(self) -> dict[str, Any]:
        """Return what `ansm evaluate --json FILE` writes."""


Results = Mapping[str, Any] | HasJson | str | Path  # a result, its JSON, or the file of that


@dataclass(frozen=True, kw_only=True)
class Figure:
    """The part of a result's row that a card shows; the fields are those of `results.Row`."""

    threat: Threat
    attack: str
    eps_255: float
    defence: str
    f1: float
    f1_low: float
    f1_high: float
    images: int
    photographs: int | None = None
    aim: str | None = None
    false_positive_share: float | None = None

    @property
    def ball(self) -> tuple[str, float, bool, str]:
        """Where an attack is comparable to another: threat, radius, norm, and what it was told."""
        return self.threat, self.eps_255, "l2" in self.attack, self.aim or ""

    @property
    def text(self) -> str:
        """F1 with its 95 % interval, where that is defined."""
        sources = self.images if self.photographs is None else self.photographs
        interval = f" ({self.f1_low:.3f} to {self.f1_high:.3f})"
        return f"{self.f1:.3f}" + (interval if sources >= FEWEST_SOURCES else "")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a card says of a result.

    Attributes:
        figures: of its rows.
        localizer: as the result names it.
        ansm: likewise.
        alarms: reasons to distrust the figures.
        is_bound: whether the T4 figures are searched as long as a bound asks for.
        version: of ansm_plugin that measured, "" where it is not said.
    """

    figures: tuple[Figure, ...]
    localizer: str
    ansm: str
    alarms: tuple[str, ...]
    is_bound: bool
    version: str

    @property
    def threats(self) -> set[str]:
        """The threat models that the defended localizer was measured in."""
        return {figure.threat for figure in self.figures if figure.defence == DEFENDED}


def read_results(results: Results) -> Measured:
    """Return what a card says of a result.

    Args:
        results: an `Evaluation`, its JSON, or the path of a file that holds it.

    Raises:
        ConfigError: not a result of `ansm evaluate`; the message says what is wrong.
    """
    where = str(results) if isinstance(results, str | Path) else "the result"
    table = _table(results, where)
    rows = table.get("rows") if isinstance(table, dict) else None
    if not isinstance(rows, list | tuple) or not rows:
        raise ConfigError(
            f"{where} holds no rows; give the evaluation.json of `ansm evaluate --output FOLDER`, "
            "or what `ansm_plugin.evaluate` returned."
        )
    figures = tuple(_figure(row, f"{where}: row {i}") for i, row in enumerate(rows))
    alarms = table.get("alarms")
    summary, versions = (_mapping(table.get(key)) for key in ("summary", "versions"))
    return Measured(
        figures=figures,
        localizer=str(table.get("localizer", "")),
        ansm=str(table.get("ansm", "")),
        alarms=tuple(map(str, alarms)) if isinstance(alarms, list | tuple) else (),
        is_bound=summary.get("white_box") == "bound",
        version=str(versions.get("ansm_plugin", "")),
    )


def figure_lines(measured: Measured) -> Iterator[str]:
    """Yield the table of a card, the strongest attack of each radius, and what qualifies it."""
    yield _HEAD
    defended = [figure for figure in measured.figures if figure.defence == DEFENDED]
    bare = {(f.ball, f.attack): f for f in measured.figures if f.defence == BARE}
    for figure in _strongest(defended):
        without = bare.get((figure.ball, figure.attack))
        told = f", told `{figure.aim}`" if figure.aim else ""
        yield (
            f"| {figure.threat}: {THREATS[figure.threat]} | {cell(figure.attack)}{told} | "
            f"{figure.eps_255:g} | {figure.images} | {without.text if without else '-'} | "
            f"{figure.text} |"
        )
    yield ""
    yield from _qualified(measured, defended)


def cell(text: str) -> str:
    """Return text of others as Markdown shows it: in one line, and no table or tag ends by it."""
    shown = one_line(text, most=300)
    return shown.replace("|", "\\|").replace("<", "&lt;").replace("`", "'")


def _table(results: Results, where: str) -> Any:
    if isinstance(results, str | Path):
        try:
            return json.loads(Path(results).expanduser().read_text("utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(
                f"cannot read {where}: {error}. Give the evaluation.json of `ansm evaluate`."
            ) from error
    return dict(results) if isinstance(results, Mapping) else results.as_json()


def _figure(row: Any, where: str) -> Figure:
    known = {field.name for field in fields(Figure)}
    return from_table(Figure, {k: v for k, v in _mapping(row).items() if k in known}, where)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _strongest(defended: Iterable[Figure]) -> list[Figure]:
    """Return the figure with the lowest F1 of each ball, by threat model and radius."""
    strongest: dict[tuple[str, float, bool, str], Figure] = {}
    for figure in defended:
        known = strongest.get(figure.ball)
        if known is None or figure.f1 < known.f1:
            strongest[figure.ball] = figure
    return [strongest[ball] for ball in sorted(strongest)]


def _qualified(measured: Measured, defended: Iterable[Figure]) -> Iterator[str]:
    clean = [f for f in defended if (f.threat, f.attack) == (T0, NO_ATTACK)]
    for share in (f.false_positive_share for f in clean if f.false_positive_share is not None):
        yield f"- Of an authentic image without attack, {share:.1%} is marked on average."
    if T4 in measured.threats and not measured.is_bound:
        yield "- The T4 figures are an estimate, which is too high: a longer search finds less."
    missing = [f"{name} ({said})" for name, said in THREATS.items() if name not in measured.threats]
    if missing:
        yield f"- Not measured: {'; '.join(missing)}."
    for alarm in measured.alarms:
        yield f"- Reason to distrust: {cell(alarm)}"
