"""The choices of version 0.1 by name: the same numbers, and its configs repeat its runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansm_plugin.ansm import PRESETS, Architecture
from ansm_plugin.commands.recipe_options import read_options
from ansm_plugin.recipes import ffa, hardened, mgr
from ansm_plugin.recipes.config import load_config, save_config
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.hardened import Hardened, HardenedRecipe
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe
from ansm_plugin.recipes.overfitting import Checks
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.training.cache import AttackMixture
from ansm_plugin.training.config import FitConfig

THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
QUICK = FitConfig(
    steps=3, batch_size=6, warmup=0, averaging=0.5, precision="fp32", checkpoint_every=100
)
NO_PRICE: dict[str, Any] = {"original_price": 0.0, "alignment": 0.0}
Fields = Callable[..., dict[str, Any]]

# Losses of three steps each, written down by version 0.1 (commit 2a27467): on that machine they
# agreed to the last bit, on others the last places of sums may differ.
FFA = [0.0005984760937280953, 0.00042213700362481177, 0.0005963269504718482]
MGR = {
    ("ground_truth", 0.0): [1.176558017730713, 1.1761170625686646, 1.1764533519744873],
    ("ground_truth", 1.0): [1.176607608795166, 1.1761822700500488, 1.176128625869751],
    ("localizer", 0.0): [1.7396304607391357, 1.7335655689239502, 1.7316486835479736],
    ("localizer", 1.0): [1.7396600246429443, 1.7335981130599976, 1.7317980527877808],
    ("mixed", 0.0): [1.4586262702941895, 1.4553921222686768, 1.4545775651931763],
    ("mixed", 1.0): [1.4586549997329712, 1.4554556608200073, 1.45435631275177],
}
HARDENED = {
    "none": [1.7180109024047852, 1.7206435203552246, 1.7222766876220703],
    "lora": [1.7180109024047852, 1.7192103862762451, 1.719731330871582],
}


@pytest.fixture
def old(stage: Fields, monkeypatch: pytest.MonkeyPatch) -> Fields:
    """Return the fields that every stage needs, with attacks that are told the truth."""
    monkeypatch.setitem(PRESETS, "thin", THIN)
    attacks = replace(stage()["attacks"], targets=("truth",))
    return lambda **changes: stage(**{"attacks": attacks, **changes})


class Losses(list[float]):
    """Progress that keeps the losses."""

    def __call__(self, name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        """Note one call."""
        self.extend([logs["loss"]] if "loss" in logs else [])


@pytest.fixture
def first(tmp_path: Path, old: Fields) -> Path:
    """Return the ANSM of three steps of stage 1, whose losses are those of version 0.1."""
    losses, recipe = Losses(), FfaRecipe(**old(ansm="thin", ffa=Ffa(taps=("stem",), fit=QUICK)))
    path = ffa.run(recipe, tmp_path / "ffa", losses)
    assert losses == pytest.approx(FFA, rel=1e-4)
    return path


def test_stage_2_repeats_its_numbers(tmp_path: Path, old: Fields, first: Path) -> None:
    for (target, channel), expected in MGR.items():
        chosen: Any = {"target": target, "channel": channel, "fit": QUICK, **NO_PRICE}
        losses, recipe = Losses(), MgrRecipe(**old(start=first, mgr=Mgr(**chosen)))
        mgr.run(recipe, tmp_path / f"{target}-{channel}", losses)
        assert losses == pytest.approx(expected, rel=1e-6), (target, channel)


def test_stage_3_repeats_its_numbers(tmp_path: Path, old: Fields, first: Path) -> None:
    checks = Checks(steps=2, images=2, every=2, limit=1.0)
    chosen = Hardened(attack_steps=2, checks=checks, target="ground_truth", fit=QUICK, **NO_PRICE)
    for tune, expected in HARDENED.items():
        losses: Any = Losses()
        recipe = HardenedRecipe(**old(start=first, tune=tune, hardened=chosen))
        hardened.run(recipe, tmp_path / tune, losses)
        assert losses == pytest.approx(expected, rel=1e-6), tune


ATTACKS = """
[attacks]
attacks = ["pgd"]
eps_255 = [2.0]
steps = 3
step_shares = [0.1]
precision = "fp32"
"""
MGR_TABLE = """
[mgr]
original_weight = 1.0
bce_weight = 0.3
target = "mixed"
channel = 0.0
fit = {steps = 7}
"""
HARDENED_TABLE = """
[hardened]
attacks = ["margin"]
eps_255 = [1.0]
attack_steps = 3
ramp = 0.3
warm_start = 0.25
knowing_weight = 1.0
original_weight = 1.0
bce_weight = 0.3
checks = {every = 5}
fit = {steps = 7}
"""
OLD_ATTACKS = AttackMixture(
    attacks=("pgd",), eps_255=(2.0,), steps=3, step_shares=(0.1,), precision="fp32",
    targets=("truth",),
)  # fmt: skip


def test_a_config_of_version_0_1_repeats_its_run(tmp_path: Path) -> None:
    path = tmp_path / "old.toml"
    path.write_text(ATTACKS + MGR_TABLE)
    fit = FitConfig(steps=7)
    expected = TwoStageRecipe(attacks=OLD_ATTACKS, mgr=Mgr(target="mixed", fit=fit, **NO_PRICE))
    assert load_config(TwoStageRecipe, path) == expected
    path.write_text(ATTACKS + HARDENED_TABLE)
    expected_hard = Hardened(
        attacks=("margin",), eps_255=(1.0,), target="ground_truth", checks=Checks(every=5),
        fit=fit, **NO_PRICE,
    )  # fmt: skip
    found = load_config(HardenedRecipe, path)
    assert found == HardenedRecipe(attacks=OLD_ATTACKS, hardened=expected_hard)
    save_config(found, path)
    assert load_config(HardenedRecipe, path) == found


def test_a_config_of_ones_own_keeps_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text("[attacks]\nsteps = 3\n[mgr]\noriginal_weight = 2.0\n")
    expected = MgrRecipe(attacks=AttackMixture(steps=3), mgr=Mgr(original_weight=2.0))
    assert load_config(MgrRecipe, path) == expected


def test_old_behaviour_is_named_on_the_command_line(tmp_path: Path) -> None:
    text = mgr.__doc__ or ""
    options = text.split("version 0.1: `")[1].split("`")[0].split()
    given = ["--output", str(tmp_path), "--start", "ffa.safetensors", *options]
    config, *_ = read_options(MgrRecipe, "mgr", [*given, "--mgr.target", "mixed"])
    assert config.attacks.targets == ("truth",)
    assert config.data.forgeries.authentic == 0.0
    assert config.mgr == Mgr(target="mixed", **NO_PRICE)  # the last one counts
