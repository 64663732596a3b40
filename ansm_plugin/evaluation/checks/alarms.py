"""Reasons to distrust an evaluation, found in its own rows.

The honesty checks that broken defences would have failed (Carlini et al., arXiv 1902.06705).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import itemgetter

from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.attacks import ATTACKS
from ansm_plugin.attacks.aims import DECOY
from ansm_plugin.evaluation.checks.alarm import Alarm
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
    T35,
    Row,
    Rows,
)
from ansm_plugin.evaluation.transplant import Transplant
from ansm_plugin.metrics.defence import FINDS_NOTHING, MIN_DAMAGE

_SLACK = 0.02  # differences of F1 below this are noise of the random start
# Above what the strong pairs of recipes/PROOF.md show (0.00), below those that leak. Where there is
# less room above originals, half of the room; never less than chance moves.
_LEAK, _LEAST_LEAK = 0.05, 0.01
# What a module that reads masks loses when the noise was told a wrong one: 0.15 and more were
# measured (MI-FGSM at 4 and 8), 0.01 of modules that were trained against it.
_MISLED = 0.1
# F1 against the attacker's mask above its controls; see tests/evaluation/checks/test_decodes.py.
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
    rows: Rows,
    framing: Framing | None = None,
    transplant: Transplant | None = None,
    *,
    is_untrained: bool,
) -> tuple[Alarm, ...]:
    """Return what is wrong or suspicious, in plain words; empty where nothing is."""
    untrained = (Alarm("untrained", UNTRAINED),) if is_untrained else ()
    found = (_idle_attacks, _rising_f1, _weak_white_box, _leaked_masks)
    alarms = (alarm for find in found for alarm in find(rows))
    return (
        *untrained,
        *alarms,
        *_decoded_masks(framing or {}),
        *_written_masks(transplant),
    )


def _idle_attacks(rows: Rows) -> Iterator[Alarm]:
    clean = rows.clean(BARE).f1
    idle = [b for b, _ in rows.pairs() if b.aim is None and clean - b.f1 < MIN_DAMAGE]
    if idle and clean < FINDS_NOTHING:
        yield Alarm("blind", blind_localizer(clean, [bare.key for bare in idle]))
    else:
        for bare in idle:
            yield Alarm(
                "idle",
                f"{bare.key} does nothing: the bare localizer scores F1 {bare.f1:.3f} attacked and "
                f"{clean:.3f} on original images. Check that gradients reach the image, and raise "
                "eps or steps.",
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


def _rising_f1(rows: Rows) -> Iterator[Alarm]:
    """A larger ball holds the smaller one: an attack that then does less searched it badly."""
    attacked = [row for row in rows if _is_direct(row)]
    attacked.sort(key=lambda row: (row.threat, row.attack, row.eps_255))
    for _, group in groupby(attacked, key=lambda row: (row.threat, row.attack)):
        for smaller, larger in pairwise(group):
            if larger.f1 > smaller.f1 + _SLACK:
                yield Alarm(
                    "rising",
                    f"F1 does not fall with eps: {smaller.threat} {smaller.key} leaves "
                    f"{smaller.f1:.3f}, {larger.key} leaves {larger.f1:.3f}. Raise steps.",
                )


def _is_direct(row: Row) -> bool:
    """Return whether the scored model is the one that was attacked, and the truth was told."""
    return row.aim is None and (row.threat, row.defence) in {(T1, BARE), (T4, DEFENDED)}


def _weak_white_box(rows: Rows) -> Iterator[Alarm]:
    """Who knows the module can do no worse than who does not; else its gradients mislead."""
    for strongest_white in rows.strongest_white_box():
        same = rows.only(defence=DEFENDED, eps_255=strongest_white.eps_255)
        # The ball of an l2 attack of this radius holds far more than this one: no less knowledge.
        others = [r for r in same if _is_blinder(r) and r.norm == strongest_white.norm]
        strongest = min(others, key=lambda row: row.f1, default=strongest_white)
        if strongest_white.f1 > strongest.f1 + _SLACK:
            yield Alarm(
                "weak-white-box",
                f"the white-box attack {strongest_white.key} leaves F1 {strongest_white.f1:.3f}, "
                f"more than the {strongest.f1:.3f} that {strongest.threat} {strongest.key} leaves "
                "without knowing the module: gradients through the module mislead, so its "
                "white-box figure is no lower bound. Raise white_box_steps.",
            )


def _is_blinder(row: Row) -> bool:
    """Return whether the attacker knew less than the module; a channel is no attacker."""
    return row.threat in {T0, T1, T2, T3, T35, T6} and row.attack != NO_ATTACK


def _leaked_masks(rows: Rows) -> Iterator[Alarm]:
    """Noise made with the true mask can carry it: then a module reads the mask from the noise."""
    original = rows.clean(DEFENDED).f1
    best = max(_told_truth(rows), key=lambda row: row.f1, default=None)
    room = max(_LEAST_LEAK, (1 - original) / 2)
    if best is not None and best.f1 > original + min(_LEAK, room):
        yield Alarm(
            "leak",
            f"attacked images localize better than original ones behind the module: F1 "
            f"{best.f1:.3f} under {best.threat} {best.key}, {original:.3f} without attack. The "
            "attack knows the true mask, so its noise can give the mask away: recovery is too "
            "high. Measure with `--attacks hide`, which knows no mask.",
        )
        return
    loss, decoy, told = max(_misled(rows), default=(0.0, None, None), key=itemgetter(0))
    if decoy is not None and told is not None and loss > _MISLED:
        yield Alarm(
            "leak",
            f"noise that was told a wrong mask takes more than noise that was told the true one, "
            f"as it does not without module: F1 {decoy.f1:.3f} under {decoy.threat} {decoy.key}, "
            f"{told.f1:.3f} under {told.key}. So the module goes by the mask in the noise, and "
            "recovery under attacks that know the true mask is too high.",
        )


def _told_truth(rows: Rows) -> list[Row]:
    return [row for row in rows.only(defence=DEFENDED) if _knows_mask(row)]


def _misled(rows: Rows) -> Iterator[tuple[float, Row, Row]]:
    """Yield what a wrong mask takes more than the truth, above the same of the bare localizer.

    And the two rows. Nobody is told a wrong mask to do the localizer more harm.
    """
    told = [row for row in _told_truth(rows) if row.threat == T1 and row.attack in ATTACKS]
    for decoy in rows.only(threat=T1, defence=DEFENDED):
        name = decoy.attack.partition(",")[0]
        if decoy.aim != DECOY:
            continue
        at = [row for row in told if row.eps_255 == decoy.eps_255]
        same = [row for row in at if row.attack == name] or at
        truth = min(same, key=lambda row: row.f1, default=None)
        if truth is not None:
            bare = _bare(rows, truth) - _bare(rows, decoy)
            yield truth.f1 - decoy.f1 - max(0.0, bare), decoy, truth


def _bare(rows: Rows, row: Row) -> float:
    """Return the F1 of the bare localizer under the same attack."""
    (bare,) = rows.only(threat=row.threat, attack=row.attack, eps_255=row.eps_255, defence=BARE)
    return bare.f1


def _knows_mask(row: Row) -> bool:
    """Return whether the noise was made with the true mask; noise on features (T3) is not."""
    spec = ATTACKS.get(row.attack)
    told = spec is None or spec.objective != "hide"
    return row.threat in {T1, T2} and row.aim is None and told


def _written_masks(transplant: Transplant | None) -> Iterator[Alarm]:
    """Who needs no picture to see where the forgery was, reads it in what the module wrote."""
    if transplant is not None and transplant.overwrites:
        yield Alarm(
            "overwrites",
            "the module writes a mask of its own into the picture: what it adds to original "
            "forgeries, put on flat grey without them, makes the bare localizer mark their masks "
            f"with F1 {transplant.f1:.3f} (that of another picture {transplant.control_f1:.3f}). "
            "It is a second localizer, and what it finds, not what is rescued, is in recovery.",
        )


def _decoded_masks(framing: Framing) -> Iterator[Alarm]:
    """Who is told nothing but the noise, and marks the mask that it was made with, reads it."""
    for of, rows in framing.items():
        excess, row, control = max(
            _above_controls(rows), default=(0.0, None, 0.0), key=itemgetter(0)
        )
        if row is None or excess <= _DECODES:
            continue
        yield Alarm(
            "decodes",
            f"the module reads the attacker's mask out of the noise: {of} images under "
            f"{row.threat} {row.key}, made with a wrong mask, are marked where that mask lies, "
            f"with F1 {row.f1:.3f} against it and at most {control:.3f} without module, without "
            "attack or by chance. Anybody can frame a photograph so, and recovery under attacks "
            "that know the true mask is too high.",
        )
        return  # the same of forged images would say no more


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
