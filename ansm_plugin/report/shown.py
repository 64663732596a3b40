"""Which rows a table has room for, and what it says of framing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ansm_plugin.evaluation.framing import FramingRow, framed
from ansm_plugin.evaluation.results import BARE, DEFENDED, THREATS, Row, Rows

FRAMING = "Framing: authentic photographs attacked with a wrong mask"
FRAMING_MEANING = (
    "A defence that reads the mask out of the noise lets anybody frame an authentic photograph. "
    "The last column is how much more is marked inside the wrong mask than outside, above what is "
    "marked without attack: 0 is none."
)
AIMED_MEANING = (
    "Noise that is made with the true mask could tell a defence where the forgery is. So these "
    "attacks were told another: decoy goes away from a wrong mask, mark goes towards one, swap "
    "takes the noise of another image. F1 is against the true mask; such an attack may do no "
    "damage at all."
)
FRAMING_HEAD = (
    "threat",
    "attack",
    "eps",
    "defence",
    "marked inside it",
    "outside",
    "F1 against it",
    "inside - outside, above clean",
)


def shown(rows: Rows) -> Rows:
    """Return all rows but those of aimed attacks that another one of the same aim outdoes.

    At each radius of a threat model the attack is shown that leaves the defended localizer least.
    """
    least: dict[tuple[object, ...], Row] = {}
    for row in rows.only(defence=DEFENDED):
        key = (row.threat, row.aim, row.eps_255)
        if row.aim and (key not in least or row.f1 < least[key].f1):
            least[key] = row
    names = {(row.threat, row.key) for row in least.values()}
    return Rows(row for row in rows if row.aim is None or (row.threat, row.key) in names)


def outdone_line(rows: Rows) -> str:
    """Return how many aimed attacks `shown` leaves out; "" where it shows all."""
    count = len({(row.threat, row.key) for row in rows}) - len(
        {(row.threat, row.key) for row in shown(rows)}
    )
    if not count:
        return ""
    return (
        "Of each aim and radius the attack that leaves the defended localizer least is shown; the "
        f"JSON has {count} more."
    )


def not_run_line(rows: Rows) -> str:
    """Return which threat models have no row; "" where all have one."""
    missing = [threat for threat in THREATS if not rows.only(threat=threat)]
    if not missing:
        return ""
    said = "; ".join(f"{threat} ({THREATS[threat]})" for threat in missing)
    return f"Not run: {said}."


def framing_cells(rows: Sequence[FramingRow]) -> Iterator[tuple[str, ...]]:
    """Yield the cells of one row each, under `FRAMING_HEAD`."""
    figures = {id(row): figure for row, figure in framed(rows)}
    for row in rows:
        figure = figures.get(id(row))
        yield (
            row.threat,
            "none (original)" if row.aim is None else row.attack,
            f"{row.eps_255:g}",
            {BARE: "bare", DEFENDED: "ANSM"}.get(row.defence, row.defence),
            f"{row.inside:.3f}",
            f"{row.outside:.3f}",
            f"{row.f1:.3f}",
            "-" if figure is None else f"{figure:+z.3f}",
        )


def framing_line(rows: Sequence[FramingRow]) -> str:
    """Return the worst figure of those who do not know the module, in plain words; "" for none."""
    known = [(figure, r) for r, figure in framed(rows) if r.threat == "T1"]
    own = [pair for pair in known if pair[1].defence == DEFENDED]
    if not own:
        return ""
    figure, worst = max(own, key=lambda pair: pair[0])
    bare = next((f for f, row in known if row.defence == BARE and row.key == worst.key), None)
    beside = "" if bare is None else f"bare {bare:+z.3f}; "
    return (
        f"Framing: on {_images(worst.images, 'authentic ')} under {worst.key}, told a wrong mask, "
        f"the defended localizer marks {worst.inside:.1%} inside that mask and {worst.outside:.1%} "
        f"outside: {figure:+z.3f} above clean ({beside}0 is none)."
    )


def left_out_line(rows: Rows) -> str:
    """Return of how many images no noise was swapped; "" where all had a partner."""
    fewest = min(rows, key=lambda row: row.images if row.aim == "swap" else float("inf"))
    missing = rows.clean(BARE).images - fewest.images
    if fewest.aim != "swap" or not missing:
        return ""
    return f"Swapped noise: {_images(missing)} had no other of that size beside it, and got none."


def _images(count: int, kind: str = "") -> str:
    return f"{count} {kind}image{'' if count == 1 else 's'}"
