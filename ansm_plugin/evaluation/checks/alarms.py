"""Reasons to distrust an evaluation, found in its own rows.

The honesty checks that broken defences would have failed (Carlini et al., arXiv 1902.06705).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise

from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.attacks import ATTACKS
from ansm_plugin.evaluation.framing import FramingRow, clean_row
from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    NO_ATTACK,
    T0,
    T1,
    T2,
    T3,
    T4,
    T6,
    Row,
    Rows,
)
from ansm_plugin.metrics.defence import FINDS_NOTHING, MIN_DAMAGE

_SLACK = 0.02  # differences of F1 below this are noise of the random start
_LEAK = 0.05  # above what the strong pairs of recipes/PROOF.md show (0.00), below those that leak
# F1 against the attacker's mask above its controls; see tests/evaluation/checks/test_decoding.py.
_DECODES = 0.1
Framing = Mapping[str, Sequence[FramingRow]]  # rows of "authentic" and of "forged" images
UNTRAINED = (
    "the ANSM is untrained: it adds nothing, so defended and bare are the same. Train one with "
    "`ansm train two-stage`, or pass its weights."
)


def is_untrained(ansm: nn.Module) -> bool:
    """Return whether a module is an ANSM that adds nothing yet."""
    return isinstance(ansm, ANSM) and ansm.is_identity


def find_alarms(
    rows: Rows, framing: Framing | None = None, *, is_untrained: bool
) -> tuple[str, ...]:
    """Return what is wrong or suspicious, in plain words; empty where nothing is."""
    untrained = (UNTRAINED,) if is_untrained else ()
    found = (_idle_attacks, _rising_f1, _weak_white_box, _leaked_masks)
    alarms = (alarm for find in found for alarm in find(rows))
    return (*untrained, *alarms, *_decoded_masks(framing or {}))


def _idle_attacks(rows: Rows) -> Iterator[str]:
    clean = rows.clean(BARE).f1
    idle = [b for b, _ in rows.pairs() if b.aim is None and clean - b.f1 < MIN_DAMAGE]
    if idle and clean < FINDS_NOTHING:
        yield blind_localizer(clean, [bare.key for bare in idle])
    else:
        for bare in idle:
            yield (
                f"{bare.key} does nothing: the bare localizer scores F1 {bare.f1:.3f} attacked and "
                f"{clean:.3f} on original images. Check that gradients reach the image, and raise "
                "eps or steps."
            )


def blind_localizer(clean: float, idle: Sequence[str]) -> str:
    """Return what is wrong where attacks take nothing, as the localizer finds nothing.

    Args:
        clean: its F1 on original images.
        idle: attacks that took nothing.
    """
    return (
        f"the localizer finds next to nothing: F1 {clean:.3f} on original images. So nothing can "
        f"be taken from it ({', '.join(idle)}), and that is no fault of the attacks. Check its "
        "weights, its normalisation and output (LocalizerSpec), and whether the masks belong to "
        "the images."
    )


def _rising_f1(rows: Rows) -> Iterator[str]:
    """A larger ball holds the smaller one: an attack that then does less searched it badly."""
    attacked = [row for row in rows if _is_direct(row)]
    attacked.sort(key=lambda row: (row.threat, row.attack, row.eps_255))
    for _, group in groupby(attacked, key=lambda row: (row.threat, row.attack)):
        for smaller, larger in pairwise(group):
            if larger.f1 > smaller.f1 + _SLACK:
                yield (
                    f"F1 does not fall with eps: {smaller.threat} {smaller.key} leaves "
                    f"{smaller.f1:.3f}, {larger.key} leaves {larger.f1:.3f}. Raise steps."
                )


def _is_direct(row: Row) -> bool:
    """Return whether the scored model is the one that was attacked, and the truth was told."""
    return row.aim is None and (row.threat, row.defence) in {(T1, BARE), (T4, DEFENDED)}


def _weak_white_box(rows: Rows) -> Iterator[str]:
    """Who knows the module can do no worse than who does not; else its gradients mislead."""
    for strongest_white in rows.strongest_white_box():
        same = rows.only(defence=DEFENDED, eps_255=strongest_white.eps_255)
        others = [row for row in same if _is_blinder(row)]
        strongest = min(others, key=lambda row: row.f1, default=strongest_white)
        if strongest_white.f1 > strongest.f1 + _SLACK:
            yield (
                f"the white-box attack {strongest_white.key} leaves F1 {strongest_white.f1:.3f}, "
                f"more than the {strongest.f1:.3f} that {strongest.threat} {strongest.key} leaves "
                "without knowing the module: gradients through the module mislead, so its "
                "white-box figure is no lower bound. Raise white_box_steps."
            )


def _is_blinder(row: Row) -> bool:
    """Return whether the attacker knew less than the module; a channel is no attacker."""
    return row.threat in {T0, T1, T2, T3, T6} and row.attack != NO_ATTACK


def _leaked_masks(rows: Rows) -> Iterator[str]:
    """Noise made with the true mask can carry it: then a module reads the mask from the noise."""
    original = rows.clean(DEFENDED).f1
    carriers = [row for row in rows.only(defence=DEFENDED) if _knows_mask(row)]
    best = max(carriers, key=lambda row: row.f1, default=None)
    if best is not None and best.f1 > original + _LEAK:
        yield (
            f"attacked images localize better than original ones behind the module: F1 "
            f"{best.f1:.3f} under {best.threat} {best.key}, {original:.3f} without attack. The "
            "attack knows the true mask, so its noise can give the mask away: recovery is too "
            "high. Measure with `--attacks hide`, which knows no mask."
        )


def _knows_mask(row: Row) -> bool:
    """Return whether the noise was made with the true mask; noise on features (T3) is not."""
    spec = ATTACKS.get(row.attack)
    told = spec is None or spec.objective != "hide"
    return row.threat in {T1, T2} and row.aim is None and told


def _decoded_masks(framing: Framing) -> Iterator[str]:
    """Who is told nothing but the noise, and marks the mask that it was made with, reads it."""
    found = [(*excess, of) for of, rows in framing.items() for excess in _above_controls(rows)]
    excess, row, control, of = max(found, key=lambda each: each[0], default=(0.0, None, 0.0, ""))
    if row is not None and excess > _DECODES:
        yield (
            f"the module reads the attacker's mask out of the noise: {of} images under "
            f"{row.threat} {row.key}, made with a wrong mask, are marked where that mask lies, "
            f"with F1 {row.f1:.3f} against it and at most {control:.3f} without module, without "
            "attack or by chance. Anybody can frame a photograph so, and recovery under attacks "
            "that know the true mask is too high."
        )


def _above_controls(rows: Sequence[FramingRow]) -> Iterator[tuple[float, FramingRow, float]]:
    """Yield by how much F1 against the wrong mask is above its controls, the row, and the control.

    They are the bare localizer under the same attack, the defended one without attack, and as many
    pixels marked anywhere, for a defence that marks everything finds W, too.
    """
    bare = {row.key: row for row in rows if (row.threat, row.defence) == (T1, BARE)}
    clean = clean_row(rows, DEFENDED)
    for row in rows:
        if (row.threat, row.defence) == (T1, DEFENDED) and clean and row.key in bare:
            control = max(bare[row.key].f1, clean.f1, row.chance_f1)
            yield row.f1 - control, row, control
