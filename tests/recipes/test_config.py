"""Configs as TOML: what is written reproduces the run, and mistakes are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansm_plugin.data.crops import DataConfig
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.config import load_config, save_config
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe
from ansm_plugin.recipes.registry import recipe_module, recipe_names
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.system.typed import from_table
from ansm_plugin.training.cache import AttackMixture
from ansm_plugin.training.config import FitConfig


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_there_are_five_recipes() -> None:
    assert recipe_names() == ["localizer", "ffa", "mgr", "two-stage", "hardened"]


def test_an_unknown_recipe_offers_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown recipe 'two_stage'\. Nearest: two-stage"):
        recipe_module("two_stage")


@pytest.mark.parametrize("name", ["localizer", "ffa", "mgr", "two-stage", "hardened"])
def test_the_default_config_comes_back_from_its_file(tmp_path: Path, name: str) -> None:
    module: Any = recipe_module(name)
    save_config(module.RECIPE(), tmp_path / "deep" / "recipe.toml")
    assert load_config(module.RECIPE, tmp_path / "deep" / "recipe.toml") == module.RECIPE()


@pytest.mark.parametrize(
    "config",
    [
        MgrRecipe(start=Path("a/ffa.safetensors"), mgr=Mgr(target="localizer", channel=0.25)),
        FfaRecipe(ffa=Ffa(loss="l2cos", taps=("encoder[1]", "ö"), fit=FitConfig(seed=3))),
        TwoStageRecipe(
            data=DataConfig(images=Path("i"), masks=Path("m"), pattern="train_*"),
            attacks=AttackMixture(attacks=("pgd",), eps_255=(2.5,), precision="fp32"),
        ),
    ],
)
def test_every_kind_of_value_comes_back(tmp_path: Path, config: Any) -> None:
    save_config(config, tmp_path / "recipe.toml")
    assert load_config(type(config), tmp_path / "recipe.toml") == config


def test_fields_that_are_not_named_keep_their_defaults(tmp_path: Path) -> None:
    path = written(tmp_path, "saturation_limit = 1\n[ffa.fit]\nsteps = 7\n")
    expected = FfaRecipe(saturation_limit=1.0, ffa=Ffa(fit=replace(FitConfig(), steps=7)))
    assert load_config(FfaRecipe, path) == expected


def test_an_unknown_field_offers_the_nearest(tmp_path: Path) -> None:
    path = written(tmp_path, "[ffa.fit]\nlearning_rat = 1\n")
    said = r"unknown field in .*recipe\.toml: ffa: fit 'learning_rat'. Nearest: learning_rate"
    with pytest.raises(ConfigError, match=said):
        load_config(FfaRecipe, path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ffa = 3", "ffa is 3; it must be a table"),
        ('[ffa]\ntaps = "a"', "taps is 'a'; it must be a list"),
        ('[ffa.fit]\nsteps = "many"', "steps is 'many'; it must be of type int"),
        ("[ffa.fit]\nsteps = 2.5", "steps is 2.5; it must be of type int"),
        ('[ffa]\nscale = "x"', "scale is 'x'; it must be of type float"),
        ("[ffa.fit]\nsteps = 0", "steps is 0"),
        ("[data]\nimages = 3", "images is 3; it must be a path"),
        ('[ffa]\nloss = "l2cso"', "value of .*ffa: loss 'l2cso'. Nearest: l2cos"),
        ('[ffa.fit]\nprecision = "bf61"', "value of .*fit: precision 'bf61'. Nearest: bf16"),
        ('[attacks]\nattacks = ["pdg"]', "unknown attack 'pdg'"),
        ("[ffa", "cannot read config"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_config(FfaRecipe, written(tmp_path, text))


def test_a_config_that_is_not_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "recipe.toml", tmp_path / "nothing.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot read config"):
            load_config(FfaRecipe, path)


def test_an_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*recipe\.toml"):
        save_config(FfaRecipe(), tmp_path / "file" / "recipe.toml")


def test_a_failed_write_keeps_the_config_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "recipe.toml"
    save_config(FfaRecipe(), path)
    before = path.read_bytes()

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ansm_plugin.recipes.config.tomli_w.dump", full)
    with pytest.raises(ConfigError, match="No space left on device"):
        save_config(FfaRecipe(ansm="base"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.toml"]


def test_tables_need_no_file() -> None:
    assert from_table(FfaRecipe, {"ansm": "base"}, "flags") == FfaRecipe(ansm="base")
