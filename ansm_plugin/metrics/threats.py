"""The words of every result row: what the attacker knows, and which defence was scored."""

from __future__ import annotations

from typing import Literal

Threat = Literal["T0", "T1", "T2", "T3", "T3.5", "T4", "T5", "T6"]
Defence = str  # BARE is the bare localizer, DEFENDED the defended one; others are baselines

T0: Threat = "T0"
T1: Threat = "T1"
T2: Threat = "T2"
T3: Threat = "T3"
T35: Threat = "T3.5"
T4: Threat = "T4"
T5: Threat = "T5"
T6: Threat = "T6"
BARE: Defence = "none"
DEFENDED: Defence = "ansm"
NO_ATTACK = "none"  # name of the rows of images without attack

THREATS: dict[Threat, str] = {
    T0: "no attack",
    T1: "knows the localizer, not the module",
    T2: "as T1, with attacks or radii that training did not have",
    T3: "knows another localizer alone",
    T35: "knows the localizer, and modules trained from our recipe, not this one",
    T4: "knows localizer and module",
    T5: "as T1; the image passes a channel before the defence",
    T6: "sees the scores of the defended localizer alone",
}
