"""One ANSM for several localizers: recipes with `also`."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.users_localizer import LOCALIZER
from torch import nn

from ansm_plugin.ansm import ANSM, PRESETS, Architecture
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import two_stage
from ansm_plugin.recipes.ffa import Ffa
from ansm_plugin.recipes.mgr import Mgr
from ansm_plugin.recipes.stage import prepare
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import StepOutput, Turn
from ansm_plugin.weights.tensors import read_metadata, write_tensors

QUICK = FitConfig(steps=4, batch_size=4, warmup=0, precision="fp32", checkpoint_every=100)
THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
Fields = Callable[..., dict[str, Any]]


@pytest.fixture
def second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Fields
) -> tuple[str, TwoStageRecipe]:
    """Return the name of a second localizer, and a recipe for both."""
    monkeypatch.setitem(PRESETS, "thin", THIN)
    weights = {k: v * 1.5 for k, v in build_localizer(LOCALIZER).state_dict().items()}
    weights["stem.1.num_batches_tracked"] = torch.tensor(0)
    name = f"{LOCALIZER}@{write_tensors(weights, tmp_path / 'second.safetensors', {})}"
    ffa = Ffa(taps=("stem",), fit=QUICK)
    return name, TwoStageRecipe(**stage(ansm="thin", ffa=ffa, mgr=Mgr(fit=QUICK), also=(name,)))


def test_one_ansm_serves_two_localizers(tmp_path: Path, second: tuple[str, TwoStageRecipe]) -> None:
    name, recipe = second
    path = two_stage.run(recipe, tmp_path / "run")
    assert {"attacked", "attacked-2"} <= {p.name for p in (tmp_path / "run").iterdir()}
    also = json.loads(read_metadata(path)["localizer"])["also"]
    assert also == fingerprint(build_localizer(name))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for served in (LOCALIZER, name):
            wrap_with_ansm(build_localizer(served), str(path))
    stranger = build_localizer(LOCALIZER)
    nn.init.zeros_(next(stranger.parameters()))
    with pytest.warns(UserWarning, match="was trained for Localizer"):
        wrap_with_ansm(stranger, str(path))


def test_each_step_is_for_one_of_them(tmp_path: Path, second: tuple[str, TwoStageRecipe]) -> None:
    setup = prepare(second[1], ANSM("thin"), tmp_path)
    assert not torch.equal(setup.pairs.attacked, setup.others[0].pairs.attacked)
    seen = []

    def make(one: Any) -> Any:
        number = 1 if one is setup else 2

        def step(turn: Turn) -> StepOutput:
            seen.append(number)
            return StepOutput(torch.zeros(()), {})

        return step

    step = setup.each(make)
    for seed in range(20):
        step(Turn(0, torch.Generator().manual_seed(seed)))
    assert set(seen) == {1, 2}
