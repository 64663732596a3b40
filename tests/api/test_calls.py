"""One call in Python for each command: the same numbers, and the user's model as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.colour_blinded import SPEC, ColourBlinded, Decolour, forged_sample
from support.cutting import CUTS, Answered, TwoStreams
from support.image_files import pairs_in, photograph
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ansm_plugin
from ansm_plugin.ansm import ANSM
from ansm_plugin.attacks import AttackSpec, attack_spec
from ansm_plugin.backbones import reference
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError, WeightsError
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.measure import Opponents
from ansm_plugin.evaluation.results import BARE, DEFENDED, T1, T4
from ansm_plugin.evaluation.run import evaluate as evaluate_samples
from ansm_plugin.localizer.stated import state

QUICK = EvaluationConfig(attacks=("pgd",), eps_255=(8,), steps=3, white_box_steps=3)


@pytest.fixture
def mine() -> nn.Module:
    """Return a localizer of the user's own, in train mode, that tells how to talk to it."""
    localizer = ColourBlinded()
    state(localizer, SPEC)
    return localizer.train()


def state_of(model: nn.Module) -> list[Any]:
    """Return modes, flags, tensors and gradients of a model."""
    parts = [(p.requires_grad, p.grad, p.detach().clone()) for p in model.parameters()]
    return [[m.training for m in model.modules()], parts, str(model.state_dict())]


# --- attack ---------------------------------------------------------------------------------------


def test_a_tensor_is_attacked_into_a_tensor(mine: nn.Module) -> None:
    sample, before = forged_sample(), state_of(mine)
    attacked = ansm_plugin.attack(mine, sample.images, sample.masks, eps_255=4)
    assert attacked.shape == sample.images.shape
    assert 0 < float((attacked - sample.images).abs().max()) <= 4.01 / 255
    assert state_of(mine) == before


def test_the_seed_decides_random_starts(mine: nn.Module) -> None:
    images, masks, _ = forged_sample()
    short = AttackSpec(steps=1, step_share=0.1, random_start=True)
    first, again, other = (
        ansm_plugin.attack(mine, images, masks, attack=short, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    batches = ansm_plugin.attack(
        mine, DataLoader(TensorDataset(images, masks), batch_size=3), attack=short
    )
    assert torch.equal(torch.cat([batch.images for batch in batches]), first)


def test_one_image_keeps_its_shape(mine: nn.Module) -> None:
    image, mask, _ = forged_sample(1)
    single = ansm_plugin.attack(mine, image[0].mul(255).byte(), mask[0, 0])
    assert single.shape == (3, 16, 16)


def test_a_defended_model_is_attacked_through_its_defence() -> None:
    """Decolour takes the red cast away that attacks on the bare localizer add."""
    defended, sample = DefendedLocalizer(ColourBlinded(), Decolour(), SPEC), forged_sample()
    state(defended.localizer, SPEC)
    around, through = (
        ansm_plugin.attack(model, sample.images, sample.masks, attack="pgd")
        for model in (defended.localizer, defended)
    )
    logits = [defended.eval()(images) for images in (around, through)]
    wrong = [float(((z > 0) != (sample.masks > 0)).float().mean()) for z in logits]
    assert wrong[1] > wrong[0]


def test_a_model_that_cuts_the_gradient_is_named_before_it_is_attacked() -> None:
    images, masks = torch.rand(1, 3, 16, 16), torch.ones(1, 1, 16, 16)
    model = TwoStreams(torch.Tensor.detach)
    for given in (model, wrap_with_ansm(model)):
        with pytest.warns(
            UserWarning, match=r"\d\d% of the gradient comes back through TwoStreams"
        ):
            ansm_plugin.attack(given, images, masks, attack="fgsm")
    with pytest.raises(LocalizerError, match="no gradient comes back through Answered: its output"):
        ansm_plugin.attack(Answered(CUTS["detach"]), images, masks)


def test_a_loader_is_attacked_into_batches_that_can_be_evaluated(mine: nn.Module) -> None:
    loader = DataLoader(TensorDataset(*forged_sample(5)[:2]), batch_size=2)
    attacked = ansm_plugin.attack(mine, loader, attack=attack_spec("margin", steps=4))
    assert [len(sample.images) for sample in attacked] == [2, 2, 1]
    pair = DefendedLocalizer(mine, Decolour(), SPEC)
    found = ansm_plugin.evaluate(pair, attacked, config=replace(QUICK, threats=("T0",)))
    assert found.rows.clean(BARE).f1 < found.rows.clean(DEFENDED).f1
    assert found.images == 5


def signs(pixels: Any, masks: Any, eps: Any, forward: Any, generator: Any) -> Any:
    """Attack as somebody else would."""
    return (pixels + eps * torch.tensor([1.0, -1.0, 0.0]).view(1, 3, 1, 1)).clamp(0, 1)


def test_an_attack_may_be_a_function_or_its_name(mine: nn.Module) -> None:
    images, masks, _ = forged_sample(2)
    by_function = ansm_plugin.attack(mine, images, masks, attack=signs)
    named = ansm_plugin.attack(mine, images, masks, attack=f"{__name__}:signs")
    assert torch.equal(by_function, named)
    assert float((by_function - images).amax()) == pytest.approx(8 / 255, abs=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"attack": "pdg"}, ConfigError, "Nearest: pgd"),
        ({"attack": lambda *_: 0}, ConfigError, "top of a module"),
        ({"eps_255": 8 / 255}, ConfigError, "8/255 = 0.03 is written 8"),
        ({"masks": None}, ImageError, "masks is missing"),
        ({"model": 7}, LocalizerError, "model is int; allowed"),
        ({"model": "smpp:Unet"}, ConfigError, "Nearest"),
        ({"device": "cuda:77"}, ConfigError, "none of that name"),
    ],
)
def test_what_cannot_be_attacked_is_refused(
    mine: nn.Module, change: dict[str, Any], error: type[Exception], said: str
) -> None:
    images, masks, _ = forged_sample(1)
    with pytest.raises(error, match=said):
        ansm_plugin.attack(**{"model": mine, "images": images[0], "masks": masks, **change})


# --- evaluate -------------------------------------------------------------------------------------


def test_a_pair_is_evaluated_as_the_command_does(mine: nn.Module) -> None:
    pair, sample = DefendedLocalizer(mine, Decolour(), SPEC), forged_sample()
    before = state_of(pair)
    found = ansm_plugin.evaluate(pair, sample.images, sample.masks, config=QUICK)
    expected = evaluate_samples(
        pair, [sample._replace(names=tuple(f"image {i}" for i in range(1, 5)))], QUICK
    )
    assert found.rows == expected.rows
    assert found.cost is not None
    assert state_of(pair) == before


def test_a_bare_localizer_is_evaluated_without_a_defence(mine: nn.Module) -> None:
    sample, before = forged_sample(), state_of(mine)
    with pytest.warns(UserWarning, match="untrained"):
        found = ansm_plugin.evaluate(mine, sample.images, sample.masks, config=QUICK)
    assert found.rows.clean(BARE).f1 == found.rows.clean(DEFENDED).f1
    assert state_of(mine) == before


def test_a_report_is_written_and_an_unfinished_one_goes_on(tmp_path: Path) -> None:
    pair, sample = DefendedLocalizer(ColourBlinded(), Decolour(), SPEC), forged_sample(1)
    phases: list[str] = []

    def evaluate(config: EvaluationConfig) -> Any:
        return ansm_plugin.evaluate(
            pair, [sample], config=config, output=tmp_path,
            progress=lambda name, *_: phases.append(name),
        )  # fmt: skip

    first = evaluate(QUICK)
    assert (tmp_path / "report.html").exists()
    assert json.loads((tmp_path / "evaluation.json").read_text())["images"] == 1
    with pytest.raises(ConfigError, match="finished report"):
        evaluate(QUICK)
    (tmp_path / "evaluation.json").unlink()
    assert evaluate(QUICK).rows == first.rows
    assert {"read images", "evaluate"} <= {*phases}


def test_opponents_and_foreign_attacks_have_their_rows(mine: nn.Module) -> None:
    name = f"{__name__}:signs"
    config = replace(QUICK, attacks=(name,), white_box_attacks=("pgd", name))
    found = ansm_plugin.evaluate(
        DefendedLocalizer(mine, Decolour(), SPEC), [forged_sample()], config=config,
        opponents=Opponents(baselines=("bits",)),
    )  # fmt: skip
    assert {BARE, DEFENDED} < {row.defence for row in found.rows.only(threat=T1)}
    assert {row.attack for row in found.rows.only(threat=T4)} > {"pgd", name}


# --- localize -------------------------------------------------------------------------------------


def test_photographs_of_every_kind_are_localized(tmp_path: Path, mine: nn.Module) -> None:
    folder, _ = pairs_in(tmp_path, "a b", "")
    before = state_of(mine)
    tensor = torch.tensor(photograph()).permute(2, 0, 1)
    found = ansm_plugin.localize(mine, [folder, folder / "a.jpg", photograph(), tensor / 255.0])
    names = ["a.jpg", "b.jpg", "a.jpg", "photograph 4", "photograph 5"]
    assert [Path(one.name).name for one in found] == names
    assert np.array_equal(found[0].probabilities, found[2].probabilities)
    assert np.array_equal(found[3].probabilities, found[4].probabilities)
    assert found[0].probabilities.shape == (40, 50)
    assert found[0].share() == float((found[0].probabilities > 0.5).mean())
    assert found[0].attack_score is None
    assert state_of(mine) == before
    (single,) = ansm_plugin.localize(mine, folder / "b.jpg")
    assert np.array_equal(single.probabilities, found[1].probabilities)


@pytest.mark.parametrize(
    ("photographs", "options", "error", "said"),
    [
        ([], {}, ImageError, "names none"),
        (7, {}, ImageError, "photographs is int"),
        ("nowhere.jpg", {}, ImageError, "nowhere"),
        (photograph(), {"tile": 3}, ConfigError, "tile is 3"),
        (photograph(), {"with_score": True}, LocalizerError, "no attack score"),
    ],
)
def test_what_cannot_be_localized_is_refused(
    mine: nn.Module,
    photographs: Any,
    options: dict[str, Any],
    error: type[Exception],
    said: str,
) -> None:
    with pytest.raises(error, match=said):
        ansm_plugin.localize(mine, photographs, **options)


def test_a_score_needs_an_ansm_that_was_calibrated(mine: nn.Module) -> None:
    with pytest.raises(WeightsError, match="calibrate"):
        ansm_plugin.localize(wrap_with_ansm(mine), photograph(), with_score=True)


# --- by name --------------------------------------------------------------------------------------


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Stand a tiny pair in for the embedded one; return the file of its ANSM."""
    torch.manual_seed(0)
    ansm = ANSM("small")
    nn.init.normal_(ansm.trunk.head.weight, std=0.1)
    file = ansm_plugin.save_ansm(ansm, tmp_path / "ansm.safetensors")

    def build(name: str) -> nn.Module:
        localizer = ColourBlinded().eval()
        state(localizer, SPEC)
        return localizer

    monkeypatch.setattr(reference, "build_localizer", build)
    monkeypatch.setattr(
        reference, "ansm_of", lambda name: file if name == reference.DEFAULT_LOCALIZER else None
    )
    return file


def test_a_name_is_the_pair_of_the_command_line(embedded: Path) -> None:
    name = reference.DEFAULT_LOCALIZER
    defended = wrap_with_ansm(reference.build_localizer(name), str(embedded))
    mine, theirs, written = (
        ansm_plugin.localize(model, photograph())[0].probabilities
        for model in (defended, name, f"{name}+{embedded}")
    )
    assert np.array_equal(mine, theirs)
    assert np.array_equal(mine, written)
    images, masks, _ = forged_sample(1)
    spec = AttackSpec(objective="margin", steps=2)
    bare = ansm_plugin.attack((ColourBlinded(), SPEC), images, masks, attack=spec)
    assert torch.equal(ansm_plugin.attack(name, images, masks, attack=spec), bare)


def test_a_name_may_go_without_weights_where_it_is_evaluated(embedded: Path) -> None:
    with pytest.warns(UserWarning, match="untrained"):
        found = ansm_plugin.evaluate("another:one", [forged_sample()], config=QUICK)
    assert found.localizer == "another:one"
    with pytest.raises(ConfigError, match="no ANSM is known"):
        ansm_plugin.localize("another:one", photograph())
