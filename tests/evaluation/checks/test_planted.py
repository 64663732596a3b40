"""Which alarm each planted fault sets off, and that harmless defences set off none of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.colour_blinded import SPEC, ColourBlinded, Decolour, authentic_sample, forged_sample
from support.modules import Decoder, Rounded, SecondLocalizer, identity, jpeg, median
from torch import Tensor, nn

from ansm_plugin.attacks import AttackSpec
from ansm_plugin.backbones import reference
from ansm_plugin.data.crops import load_crops
from ansm_plugin.data.samples import crop_samples
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation import Evaluation, EvaluationConfig, Row, evaluate
from ansm_plugin.evaluation.checks.search import unconverged
from ansm_plugin.evaluation.material import demo_data
from ansm_plugin.evaluation.results import Rows
from ansm_plugin.localizer.call import Forward

WATCHED = {"decodes", "leak", "overwrites", "gradient", "unconverged"}
# A true gradient of rounding is zero nearly everywhere: the probe says so of JPEG, and of what
# passes gradients as the identity does (`support.modules.Filter`), and is right.
BARRED = WATCHED - {"gradient"}
T0_ALONE = EvaluationConfig(threats=("T0",))
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
    return set(measured(module, config, seed).alarm_names or ()) & WATCHED


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
    assert not alarms(harmless(), seed=seed) & BARRED


@pytest.mark.parametrize("harmless", [identity, median, jpeg, lambda: jpeg(100)])
def test_filters_before_a_real_localizer_write_no_mask(harmless: Callable[[], nn.Module]) -> None:
    """What they take away marks the mask on grey, too: all but the identity have F1 above 0.8."""
    localizer = reference.build_localizer(reference.DEFAULT_LOCALIZER)
    defended = wrap_with_ansm(localizer, ansm=harmless())
    assert evaluate(defended, crop_samples(load_crops(demo_data(8))), T0_ALONE).alarm_names == ()


@pytest.mark.parametrize("sound", [identity, Decolour])
def test_a_sound_gradient_is_not_doubted(sound: Callable[[], nn.Module]) -> None:
    assert alarms(sound()) == set()


def test_a_second_localizer_is_found_without_any_attack() -> None:
    """T0 alone is enough, and quick."""
    found = measured(SecondLocalizer(), T0_ALONE)
    assert found.alarm_names == ("overwrites",)
    assert found.transplant is not None
    assert found.transplant.f1 > found.transplant.control_f1 + 0.3
    assert found.transplant.attack is None
    assert "noise_cosine" not in found.as_json()["transplant"]


def test_an_untrained_module_writes_nothing(
    untrained: DefendedLocalizer[ColourBlinded],
) -> None:
    with pytest.warns(UserWarning, match="untrained"):
        found = evaluate(untrained, [forged_sample()], T0_ALONE)
    assert found.alarm_names == ("untrained",)
    assert found.transplant is not None
    assert (found.transplant.rms_255, found.transplant.excess) == (0, 0)


@pytest.mark.parametrize("needed", [8, 3])
def test_a_search_that_stops_short_is_told(needed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here three steps are run: what six take tells whether they were enough."""

    def stepwise(
        forward: Forward, images: Tensor, masks: Tensor, eps: float, spec: AttackSpec, **_: object
    ) -> Tensor:
        cast = torch.tensor([-1.0, 1.0, 0.0]).view(1, 3, 1, 1) * (2 * masks - 1)
        return images + eps * cast * min(1.0, spec.steps / needed) / 8

    monkeypatch.setattr("ansm_plugin.evaluation.checks.search.run_attack", stepwise)
    sample, config = forged_sample(), EvaluationConfig(white_box_steps=3)
    scores = {"f1": 0.9, "f1_low": 0.9, "f1_high": 0.9, "iou": 0.9, "auc": None, "images": 4}
    row = Row(threat="T4", attack="pgd", eps_255=8, steps=3, defence="ansm", **scores)  # type: ignore[arg-type]
    found = list(unconverged(ColourBlinded(), sample, config, Rows([row])))
    assert len(found) == (needed == 8)
    assert all("pgd@8 leaves F1 " in text and "3 steps" in text for text in found)
