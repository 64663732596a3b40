"""What a defensive perturbation costs, and what the localizer's answer is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, PRESETS, Architecture
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes import ffa, hardened, mgr
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.hardened import Hardened, HardenedRecipe
from ansm_plugin.recipes.matching import Matcher, Matching
from ansm_plugin.recipes.mgr import Mgr, MgrRecipe, draw_batch
from ansm_plugin.recipes.overfitting import Checks
from ansm_plugin.recipes.prices import Prices, Views, growing_noise, priced
from ansm_plugin.recipes.run import AnsmRun, Start
from ansm_plugin.recipes.stage import Pairs, Setup, Stage
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Turn
from ansm_plugin.weights.ansm_file import load_ansm, save_ansm

THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
QUICK = FitConfig(steps=3, batch_size=6, warmup=0, averaging=0.5, precision="fp32")
FREE = Prices(original_price=0.0, alignment=0.0)
Fields = Callable[..., dict[str, Any]]


@pytest.fixture(autouse=True)
def _thin_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PRESETS, "thin", THIN)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """Return the file of an ANSM that does something."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        ansm = ANSM("thin")
        nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    return save_ansm(ansm, tmp_path / "start.safetensors")


def views(versions: int = 1) -> Views:
    """Return two originals that get 0.02, attacked by 0.1, of which 0.05 is left."""
    originals = torch.full((2, 3, 4, 4), 0.5)
    attacked = (originals + 0.1).repeat(versions, 1, 1, 1)
    return Views(originals, attacked, torch.cat([attacked - 0.05, originals + 0.02]))


@pytest.mark.parametrize("versions", [1, 2])
@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"original_price": 300.0}, 300 * 0.02**2),
        ({"original_rms_price": 3.0}, 3 * 0.02),
        ({"alignment": 150.0}, 150 * 0.05**2),
        ({"relative_alignment": 0.4}, 0.4 * 0.25),
        ({"relative_alignment": 1.0, "alignment_floor_255": 25.5}, 0.05**2 / (2 * 0.1**2)),
        ({"original_price": 10.0, "alignment": 10.0}, 10 * 0.02**2 + 10 * 0.05**2),
    ],
)
def test_prices_are_what_they_say(
    weights: dict[str, float], expected: float, versions: int
) -> None:
    price = priced(replace(FREE, **weights), views(versions), 0.0)
    assert price is not None
    assert price.item() == pytest.approx(expected, rel=1e-3)


def test_without_weights_there_is_no_price() -> None:
    assert priced(FREE, views(), 0.5) is None


def test_an_image_that_is_left_alone_has_a_finite_gradient() -> None:
    delta = torch.zeros(4, 3, 4, 4, requires_grad=True)
    images = torch.full((2, 3, 4, 4), 0.5)
    every = Prices(original_rms_price=1.0, relative_alignment=1.0)
    price = priced(every, Views(images, images, torch.cat([images, images]) + delta), 0.0)
    assert price is not None
    (gradient,) = torch.autograd.grad(price, delta)
    assert torch.isfinite(gradient).all()


def test_prices_grow() -> None:
    ramp = replace(FREE, original_price=300.0, price_ramp=0.5, price_start=0.2)
    found = [priced(ramp, views(), done) for done in (0.0, 0.25, 0.5, 0.9)]
    whole = 300 * 0.02**2
    assert [float(f) / whole for f in found if f is not None] == pytest.approx(
        [0.2, 0.6, 1, 1], rel=1e-4
    )


def test_noise_grows_in_whole_grey_levels() -> None:
    originals = torch.randint(0, 247, (2, 3, 4, 4)) / 255
    attacked = originals + 8 / 255
    assert torch.equal(growing_noise(originals, attacked, 0.0), originals)
    half = (growing_noise(originals, attacked, 0.5) - originals) * 255
    torch.testing.assert_close(half, torch.full_like(half, 4.0))
    assert growing_noise(originals, attacked, 1.0) is attacked


@pytest.mark.parametrize("kind", [Mgr, Hardened])
@pytest.mark.parametrize(
    "changes",
    [
        {"original_price": -1.0},
        {"alignment": math.nan},
        {"relative_alignment": math.inf},
        {"alignment_floor_255": -0.5},
        {"original_rms_price": -1e-9},
        {"price_ramp": 1.5},
        {"price_start": -0.1},
        {"ramp": 2.0},
    ],
)
def test_numbers_out_of_range_are_named(kind: Any, changes: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(changes))} is "):
        kind(**changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"soft_original": -1.0}, "soft_original is -1.0; it must be 0 or more"),
        ({"feature_weight": math.nan}, "feature_weight is nan"),
        ({"logit_scale": 0.0}, "logit_scale is 0; it must be above 0"),
        ({"denoise": 1.5}, "denoise is 1.5; allowed: 0 to 1"),
        ({"denoise": 0.3, "alignment": 0.0}, "give alignment or relative_alignment a weight"),
        ({"channels": ("resize", "jpg")}, r"unknown channel 'jpg'\. Nearest: jpeg"),
    ],
)
def test_choices_of_stage_2_that_cannot_be_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Mgr(**changes)


def mgr_setup(stage: Fields, start: Path, folder: Path, **choices: Any) -> tuple[Setup, Mgr]:
    chosen = Mgr(fit=QUICK, **choices)
    recipe = MgrRecipe(**stage(start=start, mgr=chosen))
    return AnsmRun("mgr", recipe, folder, Start(ANSM("thin"))).setup, chosen


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"target": "independent", "channel": 1.0},
        {"channel": 1.0, "channels": ("jpeg", "jpeg", "noise")},
        {"soft_original": 3.0, "original_weight": 0.0, "relative_alignment": 0.3},
        {"soft_attacked": 1.5, "attacked_weight": 0.5, "logit_weight": 1.0},
        {"feature_weight": 0.5, "taps": ("stem",)},
        {"denoise": 0.5, "ramp": 0.5, "price_ramp": 0.5},
    ],
)
def test_stage_2_trains_with_every_term(
    tmp_path: Path, stage: Fields, start: Path, choices: dict[str, Any]
) -> None:
    recipe = MgrRecipe(**stage(start=start, mgr=Mgr(fit=QUICK, **choices)))
    assert mgr.run(recipe, tmp_path / "run").exists()


def test_denoising_leaves_the_localizer_out(tmp_path: Path, stage: Fields, start: Path) -> None:
    setup, chosen = mgr_setup(stage, start, tmp_path, denoise=0.5)
    step = mgr.make_step(setup, chosen)
    calls = []
    hook = lambda *_: calls.append(1)  # noqa: E731
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Matcher, "answer", lambda self, images: hook() or _plain(images))
        for index in range(3):
            step(Turn(index, torch.Generator().manual_seed(index)))
    assert len(calls) == 1  # of three steps the third is past the half


def _plain(images: Tensor) -> Any:
    return type("Plain", (), {"logits": images[:, :1], "features": ()})


def test_noise_of_a_batch_grows_with_the_ramp(tmp_path: Path, stage: Fields, start: Path) -> None:
    setup, chosen = mgr_setup(stage, start, tmp_path, ramp=1.0)
    pairs = setup.pairs._replace(masks=setup.pairs.masks.expand(-1, 2, -1, -1))
    noise = []
    for index in range(3):
        batch = draw_batch(chosen, pairs, Turn(index, torch.Generator().manual_seed(0)))
        noise.append(float((batch.attacked - batch.originals).abs().max()) * 255)
    assert noise[0] == pytest.approx(0, abs=1e-4)
    assert noise[0] < noise[1] < noise[2]


def test_the_answer_to_the_original_costs_nothing(
    tmp_path: Path, stage: Fields, start: Path
) -> None:
    setup, _ = mgr_setup(stage, start, tmp_path)
    every = Matching(soft_original=1, soft_attacked=1, logit_weight=1, feature_weight=1,
                     taps=("stem",))  # fmt: skip
    matcher, index = Matcher(setup, every, "fp32"), torch.tensor([0, 5, 2])
    originals, _, attacked = setup.pairs.rows(index)
    with torch.no_grad():
        same = matcher.terms(matcher.answer(torch.cat([originals] * 2)), index, originals)
        other = matcher.terms(matcher.answer(torch.cat([attacked] * 2)), index, originals)
    assert len(same) == 4
    assert all(float(term) < 1e-5 for term in same)
    assert all(float(term) > 1e-5 for term in other)


def test_features_need_taps(tmp_path: Path, stage: Fields, start: Path) -> None:
    """Said before any crop is attacked."""
    with pytest.raises(ConfigError, match="Localizer has no known taps; name the stages to comp"):
        mgr_setup(stage, start, tmp_path, feature_weight=1.0)


@pytest.mark.parametrize("targets", [("truth",), ("own", "other"), ("swap",)])
@pytest.mark.parametrize("target", ["localizer", "independent", "mixed", "ground_truth"])
def test_stage_3_trains_with_every_target(
    tmp_path: Path, stage: Fields, start: Path, target: Any, targets: tuple[str, ...]
) -> None:
    checks = Checks(steps=1, images=2, limit=1.0)
    chosen = Hardened(attack_steps=1, checks=checks, target=target, ramp=0.0, fit=QUICK)
    fields = stage(start=start, hardened=chosen)
    fields["attacks"] = replace(fields["attacks"], targets=targets)
    assert hardened.run(HardenedRecipe(**fields), tmp_path / "run").exists()


def test_a_price_on_originals_keeps_them(tmp_path: Path, stage: Fields, start: Path) -> None:
    """The same training with and without the price: with it the module adds less."""
    added = []
    for price in (0.0, 3000.0):
        fit = replace(QUICK, steps=40, learning_rate=0.01)
        chosen = Mgr(fit=fit, original_price=price, alignment=0.0, target="ground_truth")
        folder = tmp_path / f"{price}"
        run = AnsmRun(
            "mgr", MgrRecipe(**stage(start=start, mgr=chosen)), folder, Start(load_ansm(start))
        )
        run.train("mgr", lambda setup, chosen=chosen: mgr.make_step(setup, chosen), fit)
        pixels = run.setup.pairs.originals.float() / 255
        with torch.no_grad():
            added.append(float(run.setup.ansm(pixels).square().mean()))
    assert added[1] < 0.5 * added[0]


def test_a_fifth_of_the_crops_is_authentic_by_default() -> None:
    assert Stage().data.forgeries.authentic == 0.2


def test_stage_1_has_the_same_mixture(tmp_path: Path, stage: Fields) -> None:
    recipe = FfaRecipe(**stage(ansm="thin", ffa=Ffa(taps=("stem",), fit=QUICK)))
    assert recipe.attacks.targets == MgrRecipe().attacks.targets
    setup = AnsmRun("ffa", recipe, tmp_path, Start(ANSM("thin"))).setup
    assert setup.codes is not None
    assert len(setup.codes.unique()) > 1
    assert ffa.make_step(setup, recipe.ffa)(Turn(0, torch.Generator())).loss.isfinite()


def test_pairs_that_come_without_codes_were_told_the_truth() -> None:
    images = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    pairs = Pairs(images, torch.ones(2, 1, 8, 8, dtype=torch.uint8), images)
    masks = mgr.branch_masks(Mgr(target="independent"), lambda x: x[:, :1] - 1, pairs)
    assert not masks.any()
