"""The gate of the attack score never harms; `ansm localize` with a gate, a score, an abstention."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.scored import *  # noqa: F403 - fixtures, found by their names
from support.scored import constant
from torch import Tensor, nn

from ansm_plugin import ANSM, DefendedLocalizer, LocalizerSpec
from ansm_plugin.attack_score import FEATURES, AttackScore, features
from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.cli import main
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.weights.ansm_file import save_ansm

# --- the gate -------------------------------------------------------------------------------------


def halving(defended: DefendedLocalizer[Any], inputs: Tensor) -> AttackScore:
    """Return a score that takes half of the images for attacked."""
    with torch.no_grad():
        first = features(*defended.examine(inputs))[:, 0]
    return AttackScore(
        weights=(1.0, *(0.0,) * (len(FEATURES) - 1)), bias=-float(first.sort().values[1:3].mean())
    )


def test_the_gate_leaves_unsuspicious_images_as_they_are(
    tiny: nn.Module, tiny_spec: LocalizerSpec, thin: ANSM, pixels: Tensor
) -> None:
    inputs = tiny_spec.normalise(pixels)
    plain = DefendedLocalizer(tiny, thin, tiny_spec).eval()
    score = halving(plain, inputs)
    gated = DefendedLocalizer(tiny, thin, tiny_spec, score=score, gate=True).eval()
    is_open = gated.attack_score(inputs) > 0
    assert is_open.tolist().count(True) == 2
    assert torch.equal(gated.suppress(inputs)[~is_open], inputs[~is_open])
    assert torch.equal(gated.suppress(inputs)[is_open], plain.suppress(inputs)[is_open])
    with torch.inference_mode():
        expected = torch.where(is_open.view(-1, 1, 1, 1), plain(inputs), tiny(inputs))
        torch.testing.assert_close(gated(inputs), expected)


@pytest.mark.parametrize("gate", [False, True])
@pytest.mark.parametrize("bias", [-5.0, 5.0])
def test_no_pixel_moves_further_than_the_bound_whatever_the_input(
    tiny: nn.Module,
    tiny_spec: LocalizerSpec,
    thin: ANSM,
    generator: torch.Generator,
    gate: bool,
    bias: float,
) -> None:
    nn.init.normal_(thin.trunk.head.weight, std=1e4)
    score = constant(bias)
    defended = DefendedLocalizer(tiny, thin, tiny_spec, score=score, gate=gate).eval()
    noise = 1e3 * torch.randn(2, 3, 16, 16, generator=generator)
    cases = (noise, noise / 1e3, torch.zeros_like(noise), noise.sign(), torch.full_like(noise, 9e9))
    for inputs in cases:
        delta = defended.perturbation(inputs)
        assert delta.abs().max() <= thin.bound
        moved = tiny_spec.denormalise(inputs).clamp(0, 1) + delta
        assert moved.min() >= 0
        assert moved.max() <= 1
        assert bool(delta.any()) != (gate and bias < 0) or not inputs.any()


def test_an_attack_goes_through_the_gate(
    tiny: nn.Module, tiny_spec: LocalizerSpec, thin: ANSM, pixels: Tensor
) -> None:
    """Straight-through: the gradient holds the score's, which a hard gate would hide."""
    inputs = tiny_spec.normalise(pixels).requires_grad_(True)
    plain = DefendedLocalizer(tiny, thin, tiny_spec).eval()
    gated = DefendedLocalizer(
        tiny, thin, tiny_spec, score=halving(plain, inputs.detach()), gate=True
    ).eval()
    (through,) = torch.autograd.grad(gated(inputs).sum(), inputs)
    (around,) = torch.autograd.grad(plain(inputs).sum(), inputs)
    assert through.isfinite().all()
    assert not torch.equal(through, around)
    forward = mask_forward(gated, tiny_spec)
    masks = (pixels[:, :1] > 0.5).float()
    noisy = run_attack(forward, pixels, masks, 8 / 255, attack_spec("margin", steps=3))
    assert not torch.equal(noisy, pixels)


# --- ansm localize --------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """Return a photograph without attack."""
    from PIL import Image

    crop = load_crops(DataConfig(split="test", count=1, seed=3)).images[0]
    Image.fromarray(crop.permute(1, 2, 0).numpy()).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def localized(photo: Path, name: str, *options: str) -> tuple[bytes, list[dict[str, Any]]]:
    """Return the mask's file and the JSON of a run."""
    output = photo.parent / name
    numbers = output / "found.json"
    arguments = ["localize", str(photo), "--output", str(output), "--json", str(numbers)]
    assert main([*arguments, *options]) == 0
    return (output / "photo-mask.png").read_bytes(), json.loads(numbers.read_text())["photographs"]


def test_the_gate_of_localize_keeps_the_bare_mask(photo: Path) -> None:
    bare, without = localized(photo, "bare", "--bare")
    gated, found = localized(photo, "gated", "--gate")
    assert gated == bare
    assert found[0]["gated"] is True
    assert found[0]["attack_score"] < 0
    assert without[0]["attack_score"] is None


def test_localize_scores_where_the_ansm_can_and_nobody_declines(photo: Path) -> None:
    scored, found = localized(photo, "scored")
    plain, without = localized(photo, "plain", "--no-attack-score")
    assert found[0]["attack_score"] < 0
    assert found[0]["undecided"] is False
    assert without[0]["attack_score"] is None
    assert scored == plain  # the mask is the defended one both times


def test_localize_abstains_above_the_threshold(
    photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert localized(photo, "default", "--abstain")[1][0]["undecided"] is False
    assert localized(photo, "strict", "--abstain", "-1000")[1][0]["undecided"] is True
    assert "UNDECIDED" in capsys.readouterr().out


def test_localize_without_defence_or_score_explains(
    photo: Path, thin: ANSM, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["localize", str(photo), "--output", str(photo.parent / "out"), "--gate"]
    assert main([*base, "--bare"]) == 2
    assert "no attack score" in capsys.readouterr().err
    plain = save_ansm(thin, photo.parent / "plain.safetensors")
    assert main([*base, "--ansm", str(plain)]) == 2
    assert capsys.readouterr().err.count("ansm calibrate") == 1


def test_a_photograph_in_tiles_has_one_score(packaged: DefendedLocalizer[nn.Module]) -> None:
    from ansm_plugin.photograph import localize_image, localize_scored

    crops = load_crops(DataConfig(split="test", count=9, seed=3)).images
    wide = crops.permute(2, 0, 3, 1).reshape(64, 9 * 64, 3).numpy()
    whole = localize_scored(packaged, wide)
    tiled = localize_scored(packaged, wide, tile=256)
    assert abs(whole.score - tiled.score) < 2
    assert tiled.defended.shape == tiled.bare.shape == (64, 9 * 64)
    expected = localize_image(packaged, packaged.spec, wide, tile=256)
    torch.testing.assert_close(torch.from_numpy(tiled.defended), torch.from_numpy(expected))
