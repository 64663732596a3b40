"""What `localize` says of a photograph, in words: which mask was kept, what an attack score means.

A low attack score is no proof: it knows the attacks that it was calibrated on.
"""

from __future__ import annotations

from ansm_plugin.report.record import Verdict

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
}


def verdict_words(verdict: Verdict) -> str:
    """Return which mask was kept, and why."""
    return _VERDICTS[verdict]


def attack_words(score: float | None, *, compressed: bool = False) -> str:
    """Return what an attack score says of its photograph; "" where there is none.

    Args:
        score: above 0 where it looks attacked.
        compressed: whether compression came between an attack, if there was one, and the pixels. It
            takes the sign of it away (`recipes/lab/PHOTO.md`), so that a low score says nothing.
    """
    if score is None:
        return ""
    if score > 0:
        return "looks attacked; about 1 in 100 photographs without attack do too"
    if compressed:
        return "cannot tell: compression hides the noise of an attack that came before it"
    return "no sign of the attacks it was calibrated on; others exist"
