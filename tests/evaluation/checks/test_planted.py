"""Which alarm each planted fault sets off, and that harmless defences set off none of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.colour_blinded import SPEC, ColourBlinded, Decolour, authentic_sample, forged_sample
from support.modules import Decoder, Rounded, SecondLocalizer, identity, jpeg, median
from torch import nn

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, evaluate

WATCHED = ("decodes", "leak", "overwrites", "gradient", "unconverged")
CONFIG = EvaluationConfig(
    attacks=("pgd", "mifgsm"),
    eps_255=(4, 8),
    steps=3,
    white_box_attacks=("margin",),
    white_box_steps=10,
    aims=("decoy",),
    aim_attacks=("mifgsm",),
)


def measured(module: nn.Module, config: EvaluationConfig = CONFIG, seed: int = 0) -> Evaluation:
    defended = DefendedLocalizer(ColourBlinded(), module, SPEC).eval()
    return evaluate(defended, [forged_sample(8, seed=seed), authentic_sample(4)], config)


def alarms(module: nn.Module, config: EvaluationConfig = CONFIG, seed: int = 0) -> set[str]:
    return set(measured(module, config, seed).alarm_names or ()) & set(WATCHED)


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (Decoder, {"decodes", "leak"}),
        (SecondLocalizer, {"overwrites"}),
        (lambda: Rounded(Decolour()), {"gradient"}),
    ],
)
def test_each_fault_sets_off_its_alarm(
    planted: Callable[[], nn.Module], expected: set[str]
) -> None:
    found = alarms(planted())
    assert expected <= found
    assert ("overwrites" in found) == ("overwrites" in expected)
    assert ("decodes" in found) == ("decodes" in expected)


@pytest.mark.parametrize("harmless", [identity, median, jpeg, lambda: jpeg(98), Decolour])
@pytest.mark.parametrize("seed", range(3))
def test_harmless_defences_set_off_none(harmless: Callable[[], nn.Module], seed: int) -> None:
    assert alarms(harmless(), seed=seed) == set()


def test_a_second_localizer_is_found_without_any_attack() -> None:
    """T0 alone is enough, and quick."""
    found = measured(SecondLocalizer(), EvaluationConfig(threats=("T0",)))
    assert found.alarm_names == ("overwrites",)
    assert found.transplant is not None
    assert found.transplant.f1 > found.transplant.control_f1 + 0.3
    assert found.transplant.attack is None
    assert "noise_cosine" not in found.as_json()["transplant"]


def test_an_untrained_module_writes_nothing(
    untrained: DefendedLocalizer[ColourBlinded],
) -> None:
    found = evaluate(untrained, [forged_sample()], EvaluationConfig(threats=("T0",)))
    assert found.alarm_names == ("untrained",)
    assert found.transplant is not None
    assert (found.transplant.rms_255, found.transplant.excess) == (0, 0)


def test_a_search_that_stops_short_is_told() -> None:
    """Three small steps leave what six take."""
    short = EvaluationConfig(threats=("T0", "T4"), white_box_attacks=("margin",), white_box_steps=1)
    torch.manual_seed(0)
    assert "unconverged" in alarms(identity(), short)
    assert "unconverged" not in alarms(identity())
