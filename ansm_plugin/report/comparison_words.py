"""What table and page of a comparison say alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansm_plugin.evaluation.results import BARE, DEFENDED
from ansm_plugin.report.compared import Comparison, Difference, Pairing

_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MOST_RUNS = len(_LETTERS)
FIRST_DIFFERENCE = 6  # its column under `head`; each further run has two columns more
MEANING = (
    "A difference is the F1 of a run minus that of A, over the forged images that both share. Its "
    "95 % interval is a paired bootstrap over photographs; it says nothing of other images. With * "
    "it leaves out 0. Of many lines about 1 in 20 has a * by chance."
)


def letters(comparison: Comparison) -> tuple[str, ...]:
    """Return the short name of each run, A first."""
    return tuple(_LETTERS[: len(comparison.names)])


def legend(comparison: Comparison) -> Iterator[str]:
    """Yield a line per run: its letter, its name and what it is of."""
    runs = zip(letters(comparison), comparison.names, comparison.evaluations, strict=True)
    for letter, name, evaluation in runs:
        yield (
            f"{letter}: {name} ({evaluation.localizer}, ANSM {evaluation.ansm}, "
            f"{evaluation.images} images)"
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


def difference_text(found: Difference | None) -> str:
    """Return a difference with its interval, and a star where that leaves out 0."""
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.f1:+.3f}"
    star = " *" if found.is_clear else ""
    return f"{found.f1:+.3f} [{found.low:+.3f} to {found.high:+.3f}]{star}"


def hint(found: Difference | None) -> str:
    """Return what a difference is over; "" where there is none."""
    if found is None:
        return ""
    if found.images is None:
        return "difference of two means; single images are not known, so there is no interval"
    return f"over {found.images} images of {found.photographs} photographs that both share"


def shared_line(comparison: Comparison) -> str:
    """Return over how many images the intervals are; "" where there are none."""
    found = [d for p in comparison.pairings for d in p.differences if d and d.images is not None]
    if not found:
        return ""
    counts = sorted({d.images for d in found if d.images is not None})
    said = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"Intervals are over {said} images that both runs share."


def partial_line(pairings: Sequence[Pairing], names: Sequence[str]) -> str:
    """Return which run has how many lines that others lack; "" where all have all."""
    if not pairings:
        return ""
    lacking = [sum(p.f1[i] is None for p in pairings) for i in range(len(names))]
    said = ", ".join(f"{name} lacks {count}" for name, count in zip(names, lacking, strict=True))
    return f"Lines that not every run has: {len(pairings)} ({said})."


def _f1(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
