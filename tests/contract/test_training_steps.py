"""A real step of either stage moves the ANSM and nothing of the localizer; the result returns."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ansm_plugin import load_pretrained, unwrap, wrap_with_ansm
from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes import ffa, mgr
from ansm_plugin.recipes.ffa import Ffa
from ansm_plugin.recipes.mgr import Mgr
from ansm_plugin.recipes.run import AnsmRun, Start
from ansm_plugin.recipes.stage import Pairs, Setup
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.training.config import FitConfig

# Which weights its constants are those of, nobody says here; tests/localizer asks.
pytestmark = pytest.mark.filterwarnings("ignore:the SMP encoder efficientnet-b0 was trained")

THIN = Architecture(unshuffle=2, widths=(4,), encoder_blocks=(1,), decoder_blocks=())
FIT = FitConfig(steps=1, batch_size=2, warmup=0, averaging=0, learning_rate=1e-2)


@pytest.fixture
def pairs() -> Pairs:
    """Return two images with masks and a faint attack; PAN needs 128 pixels."""
    generator = torch.Generator().manual_seed(0)
    originals = torch.randint(256, (2, 3, 128, 128), generator=generator, dtype=torch.uint8)
    attacked = originals.int().add(torch.randint(-8, 9, originals.shape, generator=generator))
    masks = torch.zeros(2, 1, 128, 128, dtype=torch.uint8)
    masks[..., 32:96, 16:80] = 1
    return Pairs(originals, masks, attacked.clamp(0, 255).to(torch.uint8))


def small(pairs: Pairs, name: str) -> Pairs:
    """Return the images at the side the localizer takes."""
    return pairs if "PAN" in name else Pairs(*(t[..., 32:96, 32:96] for t in pairs))


def test_training_moves_the_ansm_and_nothing_else(
    sample: Any, pairs: Pairs, tmp_path: Path
) -> None:
    localizer = sample.build()
    next(localizer.modules()).training = False  # not one mode everywhere
    modes = [module.training for module in localizer.modules()]
    flags = [parameter.requires_grad for parameter in localizer.parameters()]
    before = fingerprint(localizer)
    defended = wrap_with_ansm(localizer, ansm=ANSM(THIN))
    nn.init.normal_(defended.ansm.trunk.head.weight, std=0.1)  # type: ignore[union-attr, arg-type]
    recipe = TwoStageRecipe(localizer=sample.name, ffa=Ffa(fit=FIT), mgr=Mgr(fit=FIT))
    trainings = {"ffa": {"recipe": {}}, "mgr": {"recipe": {}}}
    run = AnsmRun("two_stage", recipe, tmp_path, Start(defended.ansm), trainings=trainings)  # type: ignore[arg-type]
    run.setup = Setup(defended, small(pairs, sample.name), recipe)
    states = [copy.deepcopy(defended.ansm.state_dict())]
    run.train("ffa", lambda setup: ffa.make_step(setup, recipe.ffa), FIT)
    states.append(copy.deepcopy(defended.ansm.state_dict()))
    run.go_on_from("ffa")
    last = run.train("mgr", lambda setup: mgr.make_step(setup, recipe.mgr), FIT)
    states.append(copy.deepcopy(defended.ansm.state_dict()))
    for old, new in itertools.pairwise(states):
        assert any(not torch.equal(old[name], new[name]) for name in old)
    assert fingerprint(localizer) == before  # parameters and BatchNorm's buffers
    assert all(parameter.grad is None for parameter in localizer.parameters())

    inputs = defended.spec.normalise(run.setup.pairs.attacked.float() / 255)
    with torch.no_grad():
        expected = defended(inputs)
    folder = defended.save_pretrained(tmp_path / "folder")
    assert unwrap(defended) is localizer
    assert [module.training for module in localizer.modules()] == modes
    assert [parameter.requires_grad for parameter in localizer.parameters()] == flags
    ways = (
        lambda: wrap_with_ansm(localizer, str(last)),
        lambda: load_pretrained(folder, localizer),
    )
    for rewrap in ways:
        again = rewrap()
        assert again.spec == defended.spec
        with torch.no_grad():
            assert torch.equal(again(inputs), expected)
        assert unwrap(again) is localizer
