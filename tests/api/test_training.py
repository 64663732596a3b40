"""`ansm_plugin.train`: recipes on what the user holds in Python."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.colour_blinded import forged_sample
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import ansm_plugin
from ansm_plugin.api.training import changed
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.handed import copy_of, handed_over
from ansm_plugin.recipes.config import load_config
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.localizer import LocalizerRecipe
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.training.cache import AttackMixture
from ansm_plugin.training.config import FitConfig


class Mine(nn.Module):
    """A localizer of the user's own, of two layers."""

    pretrained_cfg: dict[str, Any]  # where a spec looks for the normalisation

    def __init__(self) -> None:
        """Write the normalisation where it is looked for."""
        super().__init__()
        self.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4))
        self.head = nn.Conv2d(4, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> logits `(B, 1, H, W)`."""
        logits: Tensor = self.head(torch.relu(self.stem(images)))
        return logits


FIT = FitConfig(steps=2, batch_size=4, warmup=0, precision="fp32", checkpoint_every=100)
RECIPE = FfaRecipe(
    ansm="small",
    data=DataConfig(count=4, forgeries=ForgeryConfig(size=32)),
    attacks=AttackMixture(attacks=("pgd",), steps=1, precision="fp32"),
    ffa=Ffa(taps=("stem",), fit=FIT),
)


def loader() -> DataLoader[Any]:
    """Return two forged images and two masks, in one batch."""
    return DataLoader(TensorDataset(*forged_sample(2, size=40)[:2]), batch_size=2)


def test_a_localizer_and_a_loader_of_the_users_own_are_trained_with(tmp_path: Path) -> None:
    mine = Mine().train()
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    path = ansm_plugin.train(
        RECIPE, tmp_path, localizer=mine, images=loader(), steps=1, device="cpu"
    )
    defended = ansm_plugin.wrap_with_ansm(mine.eval(), str(path))  # and warns of no other localizer
    assert path == tmp_path / "ffa.safetensors"
    assert all(torch.equal(tensor, before[name]) for name, tensor in mine.state_dict().items())
    assert all(p.grad is None for p in mine.parameters())
    assert defended.ansm is not None
    written = load_config(FfaRecipe, tmp_path / "ffa.toml")
    assert (written.localizer, written.ffa.fit.steps) == ("python:Mine", 1)
    assert written.data.images is not None
    assert sorted(p.name for p in written.data.images.iterdir()) == ["000001.png", "000002.png"]


@pytest.mark.filterwarnings("ignore:.*held the weights of an earlier run")
def test_other_images_are_another_training(tmp_path: Path) -> None:
    """So crops of the first ones are not taken for theirs."""
    images, masks, _ = forged_sample(2, size=40)
    for given in (images, images.flip(-1)):
        ansm_plugin.train(
            RECIPE, tmp_path, localizer=Mine(), images=given, masks=masks, steps=1, device="cpu"
        )
    assert len([*tmp_path.glob("pairs-*")]) == 2


def test_files_are_listed_where_they_lie(tmp_path: Path) -> None:
    ansm_plugin.train(
        RECIPE, tmp_path / "first", localizer=Mine(), images=loader(), steps=1, device="cpu"
    )
    (folder,) = (tmp_path / "first").glob("pairs-*")
    pairs = [(folder / "images/000001.png", folder / "masks/000001.png")]
    pairs += [(folder / "images/000002.png", None)]  # type: ignore[list-item]
    output = tmp_path / "second"
    ansm_plugin.train(RECIPE, output, localizer=Mine(), images=pairs, steps=1, device="cpu")
    written = load_config(FfaRecipe, output / "ffa.toml")
    assert written.data.allow_outside
    assert json.loads(written.data.images.read_text())[1][1] == "Negative"  # type: ignore[union-attr]


def test_a_config_is_changed_in_every_stage() -> None:
    found = changed(TwoStageRecipe(), {"fit.steps": 7, "data.pattern": "a*"})
    assert (found.ffa.fit.steps, found.mgr.fit.steps, found.data.pattern) == (7, 7, "a*")
    assert changed(LocalizerRecipe(), {"fit.steps": 7}).fit.steps == 7
    with pytest.raises(ConfigError, match=r"no data\.nothing; its fields are localizer"):
        changed(LocalizerRecipe(), {"data.nothing": 7})


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"recipe": "two-stages"}, ConfigError, "Nearest: two-stage"),
        ({"recipe": 7}, ConfigError, "recipe is int; allowed: localizer, ffa"),
        ({"steps": 0}, ConfigError, "steps"),
        ({"device": "cuda:77"}, ConfigError, "none of that name"),
        (
            {"localizer": ansm_plugin.wrap_with_ansm(Mine().eval())},
            LocalizerError,
            "defended already",
        ),
    ],
)
def test_what_cannot_be_trained_is_refused(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    given = {"recipe": RECIPE, "output": tmp_path / "out", "localizer": Mine(), "steps": 1}
    with pytest.raises(error, match=said):
        ansm_plugin.train(**{**given, **change})
    assert not (tmp_path / "out").exists()


def test_a_name_stands_for_an_object_during_the_call_alone() -> None:
    mine = Mine()
    with handed_over(mine) as name:
        made = copy_of(name)
        assert type(made) is Mine
        assert made is not mine
    with pytest.raises(ConfigError, match=r"handed over.*train\(localizer=\.\.\.\)"):
        copy_of(name)


def test_a_localizer_that_cannot_be_copied_is_refused() -> None:
    mine = Mine()
    mine.cache = mine.head.weight * 2  # type: ignore[assignment] # a part of a graph
    with handed_over(mine) as name, pytest.raises(LocalizerError, match="cannot be copied"):
        copy_of(name)


def test_a_config_of_its_own_is_left_as_it_is() -> None:
    assert changed(RECIPE, {}) is RECIPE
    assert replace(RECIPE) == RECIPE
