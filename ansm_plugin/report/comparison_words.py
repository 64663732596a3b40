"""What table and page of a comparison say alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansm_plugin.evaluation.results import BARE, DEFENDED
from ansm_plugin.metrics.intervals import FEWEST_SOURCES
from ansm_plugin.report.compared import Comparison, Difference, Pairing
from ansm_plugin.report.comparison_findings import About, Finding, Value
from ansm_plugin.report.transplanted import TRANSPLANT_MEANING

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_RUNS = len(_LETTERS)
FIRST_DIFFERENCE = 6  # its column under `head`; each further run has two columns more
MEANING = (
    "A difference is the F1 of a run minus that of A, over the forged images that both share. Its "
    "95 % interval is a paired bootstrap over photographs; it says nothing of other images. With * "
    "it leaves out 0. Of many lines about 1 in 20 has a * by chance."
)

# What is said above each table of findings: its title, and what its figures mean.
TITLES: dict[About, tuple[str, str]] = {
    "harm": (
        "Harm and recovery",
        "Harm is of original images: 0 is none. A recovery of 1 is all. From here on differences "
        "are those of two figures, without an interval.",
    ),
    "framing": (
        "Framing",
        "Authentic photographs were attacked with a wrong mask. How much more is marked inside it "
        "than outside, above what is marked without attack: 0 is none.",
    ),
    "transplant": ("Transplant", TRANSPLANT_MEANING),
    "alarms": ("Alarms", "An alarm is a reason to distrust the figures of its run."),
}
_UNMEASURED: dict[About, str] = {"framing": "Framing", "transplant": "The transplant test"}


def letters(comparison: Comparison) -> tuple[str, ...]:
    """Return the short name of each run, A first."""
    return tuple(_LETTERS[: len(comparison.names)])


def legend(comparison: Comparison) -> Iterator[str]:
    """Yield a line per run: its letter, its name and what it is of."""
    runs = zip(letters(comparison), comparison.names, comparison.evaluations, strict=True)
    for letter, name, evaluation in runs:
        yield (
            f"{letter}: {name} ({evaluation.localizer}, ANSM {evaluation.ansm}, "
            f"{_images(evaluation.images)})"
        )


def head(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of the columns under which `cells` come."""
    first, *others = letters(comparison)
    names = [name for letter in others for name in (f"F1 {letter}", f"{letter} - {first}")]
    return ("threat", "attack", "eps", "defence", f"F1 {first}", *names)


def cells(pairing: Pairing) -> tuple[str, ...]:
    """Return the cells of one line; what a run does not have is a dash."""
    first, *others = map(_f1, pairing.f1)
    pairs = zip(others, map(difference_text, pairing.differences), strict=True)
    named = {BARE: "bare", DEFENDED: "ANSM"}.get(pairing.defence, pairing.defence)
    return (
        pairing.threat,
        pairing.attack,
        f"{pairing.eps_255:g}",
        named,
        first,
        *(cell for pair in pairs for cell in pair),
    )


def finding_head(comparison: Comparison) -> tuple[str, ...]:
    """Return the names of the columns under which `finding_cells` come."""
    first, *others = letters(comparison)
    return ("what", first, *(name for letter in others for name in (letter, f"{letter} - {first}")))


def finding_cells(finding: Finding) -> tuple[str, ...]:
    """Return the cells of one line; what a run does not have is said."""
    first, *others = finding.values
    cells = [finding.name, _value(first, finding)]
    for other in others:
        cells.append(_value(other, finding))
        is_number = isinstance(first, float | int) and isinstance(other, float | int)
        cells.append(_change(other - first, finding.digits) if is_number else "-")  # type: ignore[operator]
    return tuple(cells)


def about(comparison: Comparison, what: About) -> tuple[Finding, ...]:
    """Return the findings about one thing."""
    return tuple(finding for finding in comparison.findings if finding.about == what)


def missing_lines(comparison: Comparison) -> Iterator[str]:
    """Yield in words what some runs did not measure at all."""
    for what, name in _UNMEASURED.items():
        found = about(comparison, what)
        lacking = [
            letter
            for index, letter in enumerate(letters(comparison))
            if all(finding.values[index] is None for finding in found)
        ]
        if len(lacking) == len(comparison.names):
            yield f"{name} was measured in no run."
        elif lacking:
            yield f"{name} was not measured in {' and '.join(lacking)}."


def alarm_lines(comparison: Comparison) -> Iterator[tuple[str, bool]]:
    """Yield the alarms of each run in full, or that it has none; with each, whether it is one."""
    for letter, evaluation in zip(letters(comparison), comparison.evaluations, strict=True):
        for alarm in evaluation.alarms:
            yield f"ALARM of {letter}: {alarm}", True
        if not evaluation.alarms:
            yield f"{letter} has no alarm.", False


def _value(value: Value | None, finding: Finding) -> str:
    if value is None:
        return "not named" if finding.about == "alarms" else "not measured"
    return value if isinstance(value, str) else f"{value:z.{finding.digits}f}"


def _change(change: float, digits: int) -> str:
    return f"{change:+z.{digits}f}"  # z: never -0.000


def difference_text(found: Difference | None) -> str:
    """Return a difference with its interval, and a star where that leaves out 0."""
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.f1:+z.3f}"
    star = " *" if found.is_clear else ""
    return f"{found.f1:+z.3f} [{found.low:+z.3f} to {found.high:+z.3f}]{star}"


def hint(found: Difference | None) -> str:
    """Return what a difference is over; "" where there is none."""
    if found is None:
        return ""
    if found.images is None:
        return "difference of two means; single images are not known, so there is no interval"
    plural = "" if found.photographs == 1 else "s"
    return f"over {_images(found.images)} of {found.photographs} photograph{plural} that both share"


def shared_line(comparison: Comparison) -> str:
    """Return over how many shared images differences are; "" where single ones are not known."""
    found = [d for p in comparison.pairings for d in p.differences if d and d.images is not None]
    if not found:
        return ""
    counts = sorted({d.images for d in found if d.images is not None})
    said = f"{counts[0]} to {counts[-1]} images" if len(counts) > 1 else _images(counts[0])
    few = f" Fewer than {FEWEST_SOURCES} photographs have no interval."
    more = few if any(d.low is None for d in found) else ""
    return f"Differences are over {said} that both runs share.{more}"


def partial_line(pairings: Sequence[Pairing], names: Sequence[str]) -> str:
    """Return which run has how many lines that others lack; "" where all have all."""
    if not pairings:
        return ""
    lacking = [sum(p.f1[i] is None for p in pairings) for i in range(len(names))]
    said = ", ".join(f"{name} lacks {count}" for name, count in zip(names, lacking, strict=True))
    return f"Lines that not every run has: {len(pairings)} ({said})."


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _f1(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
