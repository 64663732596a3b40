"""What a defence gives back and what it costs: recovery and harm, always together."""

from __future__ import annotations

MIN_DAMAGE = 0.01  # below this loss of F1 a recovery would be a ratio of two noises
FINDS_NOTHING = 0.05  # F1 on original images below which there is nothing to attack or to defend


def recovery(f1_clean: float, f1_attacked: float, f1_defended_attacked: float) -> float | None:
    """Return the share of the F1 lost to an attack that the defence gives back.

    1 is all of it, 0 nothing, below 0 makes it worse. None where the attack took less than
    `MIN_DAMAGE`: there is nothing to give back.
    """
    damage = f1_clean - f1_attacked
    return None if damage < MIN_DAMAGE else (f1_defended_attacked - f1_attacked) / damage


def harm(f1_clean: float, f1_defended_clean: float) -> float:
    """Return the F1 that the defence costs on original images; negative where it helps."""
    return f1_clean - f1_defended_clean
