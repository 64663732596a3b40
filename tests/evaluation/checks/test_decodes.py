"""The alarm `decodes`: a module that reads the attacker's mask out of the noise.

Its margin of 0.1 is between what was measured before the packaged localizer, MI-FGSM with 10 steps
at 2, 4 and 8, F1 against the wrong mask above the largest of its controls, on 24 authentic crops
(JPEG: 12): the identity 0.00 under `mark` (its own control) and at most -0.27 under `decoy`, a
median of 3x3 at most -0.03, JPEG 75 at most 0.00; a module that reads masks has up to 1 minus its
controls.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.colour_blinded import SPEC, ColourBlinded, Decolour, authentic_sample, forged_sample
from support.modules import Decoder, identity, jpeg, median
from torch import nn

from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import EvaluationConfig, evaluate
from ansm_plugin.evaluation.checks.alarms import find_alarms
from ansm_plugin.evaluation.framing import FramingRow
from ansm_plugin.evaluation.results import BARE, DEFENDED, Row, Rows

WORDS = "reads the attacker's mask out of the noise"


def alarms(module: nn.Module, samples: list[Sample], attack: str, aim: str) -> list[str]:
    """Return the alarms `decodes` of a module before the tiny localizer."""
    defended = DefendedLocalizer(ColourBlinded(), module, SPEC).eval()
    config = EvaluationConfig(
        threats=("T0", "T1"),
        attacks=("pgd",),
        eps_255=(4, 8),
        steps=3,
        aims=(aim,),  # type: ignore[arg-type]
        aim_attacks=(attack,),
    )
    return [alarm for alarm in evaluate(defended, samples, config).alarms if WORDS in alarm]


@pytest.mark.parametrize("attack", ["mifgsm", "pgd", "margin", "apgd"])
@pytest.mark.parametrize("are_authentic", [True, False])
def test_a_planted_decoder_sets_it_off(attack: str, are_authentic: bool) -> None:
    """Also where no image is authentic: forged ones are attacked with wrong masks, too."""
    samples = [forged_sample(8), *([authentic_sample(8)] if are_authentic else [])]
    (alarm,) = alarms(Decoder(), samples, attack, "decoy")
    assert f"{attack}, decoy@" in alarm
    assert ("authentic images under" in alarm) or not are_authentic


@pytest.mark.parametrize("module", [identity, median, jpeg, Decolour])
@pytest.mark.parametrize("aim", ["decoy", "mark"])
def test_harmless_defences_do_not(module: Callable[[], nn.Module], aim: str) -> None:
    samples = [forged_sample(8), authentic_sample(8)]
    assert alarms(module(), samples, "mifgsm", aim) == []


def _framing(
    bare: float, clean: float, chance: float, f1: float, threat: str = "T1"
) -> tuple[FramingRow, ...]:
    def row(threat: str, attack: str, defence: str, f1: float, chance: float) -> FramingRow:
        shares = {"marked": 0.2, "inside": f1, "outside": 0.1, "chance_f1": chance}
        return FramingRow(
            threat=threat,  # type: ignore[arg-type]
            attack=attack, eps_255=8, steps=3, defence=defence, images=9, f1=f1, **shares,
        )  # fmt: skip

    return (
        row("T0", "none", BARE, 0.0, 0.0),
        row("T0", "none", DEFENDED, clean, 0.0),
        row(threat, "pgd, decoy", BARE, bare, 0.0),
        row(threat, "pgd, decoy", DEFENDED, f1, chance),
    )


@pytest.mark.parametrize(
    ("framing", "fires"),
    [
        (_framing(0.1, 0.1, 0.1, 0.25), True),
        (_framing(0.1, 0.1, 0.1, 0.19), False),
        (_framing(0.6, 0.1, 0.1, 0.5), False),  # the bare localizer is led there as well
        (_framing(0.1, 0.45, 0.1, 0.5), False),  # it marks that place anyway
        (_framing(0.1, 0.1, 0.45, 0.5), False),  # it marks everything
        (_framing(0.1, 0.1, 0.1, 0.9, "T4"), False),  # who knows the module leads it anywhere
    ],
)
def test_every_control_counts(framing: tuple[FramingRow, ...], fires: bool) -> None:
    fields = {"f1": 0.9, "f1_low": 0.9, "f1_high": 0.9, "iou": 0.9, "auc": None, "images": 9}
    clean = Rows(
        Row(threat="T0", attack="none", eps_255=0, steps=0, defence=d, **fields)  # type: ignore[arg-type]
        for d in (BARE, DEFENDED)
    )
    found = find_alarms(clean, {"authentic": framing}, is_untrained=False)
    assert len(found) == fires
