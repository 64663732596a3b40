"""Whatever mode the localizer is in, or the gradients around it: the attack is the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from support.four_attacks import (
    EPS,
    FORWARD,
    SPEC,
    Attack,
    by_apgd,
    by_gradient,
    by_scores,
    case,
    localizer,
)
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.features import FEATURE_ATTACK, feature_forward
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward


class Holder:
    """An object of the user's own that calls a model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.score(pixels)

    def score(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.model(pixels)
        return found


def _ensemble(model: nn.Module) -> Callable[[Tensor], Tensor]:
    models = [model]
    return lambda x: torch.stack([m(x) for m in models]).mean(0)


def _through_a_holder(model: nn.Module) -> Callable[[Tensor], Tensor]:
    holder = Holder(model)
    return lambda x: holder.model(x)


def _wrapped(model: nn.Module) -> Callable[[Tensor], Tensor]:
    inner = mask_forward(model, SPEC)
    return lambda x: 2 * inner(x)


SHOWN: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "itself": lambda model: model,
    "mask_forward": lambda model: mask_forward(model, SPEC),
    "lambda": lambda model: lambda x: model(x),
    "method": lambda model: model.forward,
    "default": lambda model: lambda x, m=model: m(x),
    "holder": Holder,
    "method of a holder": lambda model: Holder(model).score,
    "lambda around a holder": _through_a_holder,
    "ensemble": _ensemble,
    "around mask_forward": _wrapped,
    "parallel": lambda model: nn.DataParallel(model),
    "compiled": lambda model: torch.compile(model, backend="eager"),
}

# --- train and eval mode --------------------------------------------------------------------------


@pytest.mark.parametrize("shown", SHOWN)
@pytest.mark.parametrize("run", [run_attack, square_attack])
def test_a_localizer_in_train_mode_is_attacked_in_eval_mode(shown: str, run: Any) -> None:
    """Its statistics stay, its mode comes back, and the attack is that on the eval mode."""
    images, masks = case()
    model = localizer().train()
    model[2].eval()
    model[0].weight.requires_grad_(False)
    forward = SHOWN[shown](model)
    modes = [m.training for m in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    spec = [] if run is square_attack else [attack_spec("pgd", steps=2)]
    short = {"queries": 3} if run is square_attack else {}
    generators = [torch.Generator().manual_seed(0) for _ in range(2)]
    with pytest.warns(UserWarning, match=r"train mode.*call \.eval\(\) first") as said:
        found = run(forward, images, masks, EPS, *spec, generator=generators[0], **short)
    assert {warning.filename for warning in said} == {__file__}
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model[0].parameters()] == [False, True]
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    for m in model.modules():
        m.training = False
    again = run(forward, images, masks, EPS, *spec, generator=generators[1], **short)
    assert torch.equal(found, again)


def test_a_mode_that_changes_nothing_is_not_worth_a_word() -> None:
    plain = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1)).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_attack(plain, *case(), EPS, attack_spec("pgd", steps=1))
    assert plain.training


def test_a_module_of_ones_own_that_asks_its_mode_is_named() -> None:
    class Noisy(nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            assert not self.training
            return pixels.sum(1, keepdim=True)

    with pytest.warns(UserWarning, match="Noisy is in train mode"):
        run_attack(Noisy(), *case(), EPS, attack_spec("pgd", steps=1))


def test_modes_come_back_where_the_attack_fails() -> None:
    class Failing(nn.Dropout):
        def forward(self, pixels: Tensor) -> Tensor:
            raise KeyError("weights")

    model = Failing()
    with pytest.warns(UserWarning, match="train mode"), pytest.raises(KeyError):
        run_attack(model, *case(), EPS, attack_spec("pgd", steps=1))
    assert model.training


def test_features_of_a_localizer_in_train_mode_leave_its_statistics() -> None:
    model = localizer().train()
    before = model[1].running_mean.clone()
    with pytest.warns(UserWarning, match="train mode"):
        forward = feature_forward(model, SPEC, case()[0])
    with pytest.warns(UserWarning, match="train mode"):
        run_attack(forward, *case(), EPS, FEATURE_ATTACK)
    assert torch.equal(model[1].running_mean, before)


# --- inference mode -------------------------------------------------------------------------------


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad])
@pytest.mark.parametrize("images_inside", [False, True])
def test_attacks_work_whatever_mode_of_gradients_is_around(
    around: Any, images_inside: bool
) -> None:
    images, masks = case()

    def run(attack: Attack, *data: Tensor) -> Tensor:
        return attack(*data, generator=torch.Generator().manual_seed(3))

    radii = torch.tensor([EPS, EPS / 2])
    for attack in (by_gradient, by_apgd, by_scores):
        expected = run(attack, images, masks, radii)
        with around():
            data = [t.clone() if images_inside else t for t in (images, masks, radii)]
            inside = run(attack, *data)
            assert torch.equal(inside, expected)
            by_gradient(*data, start=inside)
        assert torch.equal(run(attack, *data), expected)
        FORWARD(inside.requires_grad_(True)).sum().backward()  # an ordinary tensor came out


@pytest.mark.parametrize("images_inside", [False, True])
def test_features_are_attacked_under_inference_mode(images_inside: bool) -> None:
    model, (images, masks) = localizer(), case()
    with torch.inference_mode():
        data = [t.clone() if images_inside else t for t in (images, masks)]
        forward = feature_forward(model, SPEC, data[0])
    attacked = run_attack(forward, *data, EPS, FEATURE_ATTACK)
    assert not torch.equal(attacked, images)


def test_a_localizer_that_cuts_gradients_off_is_blamed_itself() -> None:
    model = localizer()

    @torch.inference_mode()
    def inference(pixels: Tensor) -> Tensor:
        found: Tensor = model(pixels)
        return found

    def detached(pixels: Tensor) -> Tensor:
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        found: Tensor = model(pixels.detach())
        return found

    spec = attack_spec("pgd", steps=1)
    with pytest.raises(LocalizerError, match=r"no gradient reaches .* torch.inference_mode"):
        run_attack(inference, *case(), EPS, spec)
    with pytest.raises(LocalizerError, match=r"no gradient reaches .* detaches its output"):
        run_attack(detached, *case(), EPS, spec)


@pytest.mark.parametrize("through", [lambda m: m, lambda m: mask_forward(m, SPEC)])
def test_weights_made_under_inference_mode_are_named(through: Any) -> None:
    with torch.inference_mode():
        model = localizer()
    with pytest.raises(LocalizerError, match=r"Sequential was made under torch.inference_mode"):
        run_attack(through(model), *case(), EPS, attack_spec("pgd", steps=1))
