"""What `localize` says of a photograph, in words: which mask was kept, what an attack score means.

A low attack score is no proof: it knows the attacks that it was calibrated on.
"""

from __future__ import annotations

from collections.abc import Sequence

from ansm_plugin.metrics.regions import TOP_SHARE
from ansm_plugin.report.record import Verdict
from ansm_plugin.weights.catalogue_card import CardScores

ATTACK_MEANING = (
    "The attack score tells images that carry the adversarial noise it was calibrated on from "
    "others. Above 0 a photograph looks attacked; so do about 1 in 100 without attack. At or below "
    "0 there is no sign of those attacks; others exist, and an attacker who knows the score can "
    "stay below. Compression hides what was attacked before it: of a JPEG file a low score tells "
    "nothing."
)
_VERDICTS: dict[Verdict, str] = {
    "defended": "defended mask kept: the localizer saw the photograph through the ANSM",
    "gated": "bare mask kept: nothing looked wrong",
    "bare": "bare mask: no defence was used",
    "undecided": "undecided: the photograph looks attacked; do not rely on this mask",
    "below": "nothing is marked: the score of the photograph is below --least-score",
}


def verdict_words(verdict: Verdict) -> str:
    """Return which mask was kept, and why."""
    return _VERDICTS[verdict]


def score_words(score: float, known: Sequence[CardScores] = ()) -> str:
    """Return what the score of a whole photograph says.

    Args:
        score: in [0, 1].
        known: scores of photographs of which it is known whether they are authentic.
    """
    meaning = (
        f"the most suspicious {TOP_SHARE:.1%} of its pixels have a mean probability of "
        f"{score:.2f}; this sorts photographs and proves nothing"
    )
    return "; ".join((meaning, *(_placed(score, scores) for scores in known)))


def _placed(score: float, known: CardScores) -> str:
    """Return how many photographs of a set score as high or higher."""
    authentic, forged = known.as_high(score)
    rest = "" if forged is None else f" and {forged:.0%} of {len(known.forged)} forged ones"
    return (
        f"as high or higher: {authentic:.0%} of {len(known.authentic)} authentic photographs"
        f"{rest} ({known.set})"
    )


def attack_words(score: float | None, *, compressed: bool = False) -> str:
    """Return what an attack score says of its photograph; "" where there is none.

    Args:
        score: above 0 where it looks attacked.
        compressed: whether compression came between an attack, if there was one, and the pixels. It
            takes most of the sign of it away (`recipes/lab/PHOTO.md`): a low score says nothing.
    """
    if score is None:
        return ""
    if score > 0:
        return "looks attacked; about 1 in 100 photographs without attack do too"
    if compressed:
        return "cannot tell: compression hides the noise of an attack that came before it"
    return "no sign of the attacks it was calibrated on; others exist"
