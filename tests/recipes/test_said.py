"""Recipes take what is said of their localizer, and check taps and gradient before they attack."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ansm_plugin.ansm import ANSM, PRESETS, Architecture
from ansm_plugin.errors import AnsmError, ConfigError, LocalizerError
from ansm_plugin.recipes import ffa, two_stage
from ansm_plugin.recipes import stage as stage_module
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.localizer import LocalizerRecipe, first_model, objective
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe
from ansm_plugin.recipes.stage import prepare
from ansm_plugin.recipes.two_stage import TwoStageRecipe

Fields = Callable[..., dict[str, Any]]
THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))


@pytest.fixture(autouse=True)
def _thin_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "thin", THIN)


@pytest.fixture
def _no_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where crops are attacked."""
    monkeypatch.setattr(
        stage_module, "attacked_crops", lambda *_, **__: pytest.fail("crops were attacked")
    )


@pytest.mark.usefixtures("_no_attack")
@pytest.mark.parametrize(
    ("taps", "said"),
    [
        ((), "no known taps; name the stages to align"),
        (("stemm",), "tap 'stemm' is not a module of Localizer; nearest: stem"),
        (("stem", "dropout.x"), "tap 'dropout.x' is not a module"),
    ],
)
def test_taps_are_tried_before_anything_is_attacked(
    taps: tuple[str, ...], said: str, stage: Fields, tmp_path: Path
) -> None:
    chosen, stated = stage(ansm="thin", ffa=Ffa(taps=taps)), stage(localizer_taps=taps)
    for module, recipe in (
        (ffa, FfaRecipe(**chosen)),
        (two_stage, TwoStageRecipe(**chosen)),
        (ffa, FfaRecipe(**stated)),
    ):
        with pytest.raises(AnsmError, match=said):
            module.run(recipe, tmp_path / recipe.__class__.__name__)


@pytest.mark.usefixtures("_no_attack")
def test_a_tap_that_never_runs_is_named(stage: Fields, user_code: Path, tmp_path: Path) -> None:
    (user_code / "idle_part.py").write_text(
        "from tests.support.cutting import *\ndef build():\n    made = Answered()\n"
        "    made.idle = nn.Conv2d(3, 3, 1)\n    return made\n"
    )
    fields = stage(ansm="thin", ffa=Ffa(taps=("idle",))) | {"localizer": "idle_part:build"}
    with pytest.raises(LocalizerError, match="tap 'idle' is there, but the localizer never runs"):
        ffa.run(FfaRecipe(**fields), tmp_path / "run")


def test_taps_of_stage_2_are_tried_where_features_have_a_weight(
    stage: Fields, tmp_path: Path
) -> None:
    weighted = MgrRecipe(**stage(mgr=Mgr(feature_weight=1.0, taps=("nothing",))))
    with pytest.raises(LocalizerError, match="tap 'nothing' is not a module"):
        prepare(weighted, ANSM(THIN), tmp_path)
    unnamed = MgrRecipe(**stage(mgr=Mgr(feature_weight=1.0)))
    with pytest.raises(ConfigError, match="--localizer-taps"):
        prepare(unnamed, ANSM(THIN), tmp_path)
    prepare(MgrRecipe(**stage(mgr=Mgr(taps=("nothing",)))), ANSM(THIN), tmp_path)  # not needed


@pytest.mark.usefixtures("_no_attack")
def test_a_localizer_without_a_gradient_is_refused_before_anything_is_attacked(
    stage: Fields, user_code: Path, tmp_path: Path
) -> None:
    (user_code / "cuts_it_in_training.py").write_text(
        "from tests.support.cutting import *\ndef build():\n    return Answered(CUTS['detach'])\n"
    )
    fields = stage(ansm="thin", ffa=Ffa(taps=("stem",)))
    recipe = FfaRecipe(**fields | {"localizer": "cuts_it_in_training:build"})
    with pytest.raises(LocalizerError, match="no gradient comes back through Answered"):
        ffa.run(recipe, tmp_path / "run")


def test_what_is_said_reaches_the_localizer_and_decides_the_attacks(
    stage: Fields, tmp_path: Path
) -> None:
    plain = FfaRecipe(**stage(ansm="thin", ffa=Ffa(taps=("stem",))))
    said = replace(plain, localizer_mean=(0.0, 0.0, 0.0), localizer_std=(1.0, 1.0, 1.0))
    first, second = (prepare(recipe, ANSM(THIN), tmp_path) for recipe in (plain, said))
    assert first.spec.std == (0.25, 0.25, 0.25)
    assert second.spec.input_range == {
        "mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0), "source": "explicit"
    }  # fmt: skip
    assert not torch.equal(first.pairs.attacked, second.pairs.attacked)  # no old crops were taken


@pytest.mark.usefixtures("user_code")
def test_the_training_of_a_localizer_takes_it_too() -> None:
    recipe = LocalizerRecipe(localizer="localizer_of_a_user:build", localizer_activation="sigmoid")
    model = first_model(recipe)
    _, loss_of = objective(recipe, model)
    _, plain_loss = objective(recipe, first_model(replace(recipe, localizer_activation=None)))
    images, masks = torch.rand(2, 3, 16, 16), torch.zeros(2, 1, 16, 16)
    with torch.no_grad():
        assert not torch.allclose(loss_of(images, masks), plain_loss(images, masks))
