"""Views of a defended localizer: equal forward, more gradient backward."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attack_score import FEATURES, AttackScore, features
from ansm_plugin.attacks import AttackSpec, Expectation, Forward, attack_spec, run_attack
from ansm_plugin.attacks.adaptive import adaptive_forwards, straight_through
from ansm_plugin.attacks.features import FEATURE_ATTACK, feature_forward
from ansm_plugin.data.augment import channel
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import LocalizerError

EPS = 8 / 255
Victim = Any  # the fixture of conftest.py


class Rounding(nn.Module):
    """A masked defence: rounds to 8 grey levels, which has no gradient."""

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        return (32 * images).round() / 32 - images


def defended(victim: Victim, ansm: nn.Module) -> DefendedLocalizer[nn.Module]:
    """Return a defended copy of the victim."""
    return DefendedLocalizer(copy.deepcopy(victim.model), ansm, victim.spec).eval()


@pytest.fixture(name="views")
def _views(victim: Victim) -> dict[str, Forward]:
    """Return the views behind an ANSM whose tanh is far in saturation."""
    ansm = ANSM(
        Architecture(unshuffle=2, widths=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
    )
    torch.manual_seed(3)
    nn.init.normal_(ansm.trunk.head.weight, std=300.0)
    return adaptive_forwards(defended(victim, ansm))


def gradient(forward: Forward, images: Tensor) -> Tensor:
    """Return the gradient of the summed logits."""
    leaf = images.clone().requires_grad_()
    (found,) = torch.autograd.grad(forward(leaf).sum(), leaf)
    return found


def test_all_views_predict_the_same(views: dict[str, Forward], victim: Victim) -> None:
    assert set(views) == {"plain", "straight-through", "unsaturated", "bypass"}
    with torch.no_grad():
        found = [view(victim.images) for view in views.values()]
    for logits in found[1:]:
        torch.testing.assert_close(logits, found[0], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("bias", [-50.0, 0.0, 50.0])
def test_all_views_of_a_gated_pair_go_through_its_gate(victim: Victim, bias: float) -> None:
    """Shut they are the bare localizer, open the module; each image for itself."""
    ansm = ANSM(
        Architecture(unshuffle=2, widths=(8, 8), encoder_blocks=(1, 1), decoder_blocks=(1,))
    )
    torch.manual_seed(3)
    nn.init.normal_(ansm.trunk.head.weight, std=300.0)
    plain = defended(victim, ansm)
    with torch.no_grad():
        first = features(*plain.pixels.examine(victim.images))[:, 0]
    weights = (1.0, *(0.0,) * (len(FEATURES) - 1))
    score = AttackScore(weights=weights, bias=bias - float(first.median()) - 1e-4)
    pair = DefendedLocalizer(plain.localizer, ansm, plain.spec, score=score, gate=True).eval()
    views = adaptive_forwards(pair)
    with torch.no_grad():
        expected = views["plain"](victim.images)
        for view in views.values():
            torch.testing.assert_close(view(victim.images), expected, atol=1e-3, rtol=1e-3)
        is_open = pair.pixels.perturbation(victim.images).flatten(1).any(1)
        bare = victim.forward(victim.images)
    torch.testing.assert_close(expected[~is_open], bare[~is_open], atol=1e-4, rtol=1e-4)
    assert is_open.tolist().count(True) in {-50.0: (0,), 50.0: (len(bare),)}.get(
        bias, range(1, len(bare))
    )
    found = {name: gradient(view, victim.images) for name, view in views.items()}
    assert all(g.isfinite().all() and g.any() for g in found.values())


def test_views_differ_on_the_way_back(views: dict[str, Forward], victim: Victim) -> None:
    found = {name: gradient(view, victim.images) for name, view in views.items()}
    assert all(g.isfinite().all() for g in found.values())
    # What comes back through the module: nearly nothing past the flat tanh.
    through = {name: (g - found["bypass"]).abs().mean() for name, g in found.items()}
    assert through["unsaturated"] > 100 * through["straight-through"]
    assert through["straight-through"] > 0


def test_pixels_at_the_ends_keep_their_gradient(victim: Victim) -> None:
    class Up(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return torch.full_like(images, 0.05)

    views = adaptive_forwards(defended(victim, Up()))
    white = torch.full_like(victim.images, 250 / 255)
    assert "unsaturated" not in views  # its inside is not known
    kept, lost = (gradient(views[n], white).abs().sum() for n in ("straight-through", "plain"))
    assert kept > 1000 * lost


def test_a_rounding_wall_falls_to_the_adaptive_views_only(victim: Victim) -> None:
    walled = adaptive_forwards(defended(victim, Rounding()))

    def left(view: str) -> float:
        spec = attack_spec("apgd-margin", steps=15)
        generator = torch.Generator().manual_seed(0)
        attacked = run_attack(
            walled[view], victim.images, victim.masks, EPS, spec, generator=generator
        )
        with torch.no_grad():
            wrong = (walled["plain"](attacked) > 0) != (victim.masks > 0)
        return 1 - float(wrong.float().mean())

    assert left("bypass") < left("plain")


def test_straight_through_takes_the_value_and_passes_the_gradient() -> None:
    leaf = torch.tensor([0.2, 0.7], requires_grad=True)
    found = straight_through(torch.round, leaf)
    (slope,) = torch.autograd.grad((found * torch.tensor([2.0, 3.0])).sum(), leaf)
    torch.testing.assert_close(found, torch.tensor([0.0, 1.0]))
    assert slope.tolist() == [2, 3]


def test_apgd_expects_a_channel_on_the_way(victim: Victim) -> None:
    def run() -> Tensor:
        return run_attack(
            victim.forward, victim.images, victim.masks, EPS, attack_spec("apgd", steps=2),
            generator=torch.Generator().manual_seed(3), expectation=Expectation(channel, 2),
        )  # fmt: skip

    assert torch.equal(run(), run())


def test_features_are_driven_away_without_a_mask(victim: Victim) -> None:
    distance = feature_forward(victim.model, victim.spec, victim.images)
    nothing = torch.zeros_like(victim.masks)
    attacked = run_attack(distance, victim.images, nothing, EPS, FEATURE_ATTACK)
    noise = torch.randn(victim.images.shape).sign() * EPS
    with torch.no_grad():
        assert distance(victim.images).abs().max() < 1e-5
        reached, random = distance(attacked), distance(victim.images + noise)
    assert reached.shape == (6, 1, 1, 1)
    assert (reached > 2 * random).all()
    assert victim.f1(attacked) < 0.8


def test_apgd_climbs_features_too(victim: Victim) -> None:
    distance = feature_forward(victim.model, victim.spec, victim.images)
    spec = AttackSpec(objective="output", random_start=True, method="apgd", steps=5)
    attacked = run_attack(distance, victim.images, victim.masks, EPS, spec)
    with torch.no_grad():
        assert (distance(attacked) > 0.05).all()


def test_features_leave_no_hook_and_need_a_tap(victim: Victim) -> None:
    feature_forward(victim.model, victim.spec, victim.images)(victim.images)
    assert not any(m._forward_hooks for m in victim.model.modules())
    with pytest.raises(LocalizerError, match="names none"):
        feature_forward(victim.model, type(victim.spec)(), victim.images)
    with pytest.raises(LocalizerError, match="not a module"):
        feature_forward(victim.model, replace(victim.spec, taps=("nowhere",)), victim.images)
