"""Modes and flags are changed for a while, module by module, and given back."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ansm_plugin.localizer.modes import device_of, frozen_eval, set_eval


class Stubborn(nn.Sequential):
    """Keeps its mode whatever `train` and `eval` say, as SMP's frozen encoders do."""

    def train(self, mode: bool = True) -> Stubborn:
        return self


def mixed() -> nn.Sequential:
    """Return a model whose parts have different modes and flags."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(), Stubborn(nn.Dropout()))
    model[1].eval()
    model[0].bias.requires_grad_(False)
    return model


def state(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


def test_everything_is_frozen_inside_and_as_before_afterwards() -> None:
    model = mixed()
    before = state(model)
    with frozen_eval(model):
        assert state(model) == ([False] * 5, [False] * 2)
    assert state(model) == before
    assert before != ([False] * 5, [False] * 2)


def test_an_error_inside_gives_it_back_too() -> None:
    model = mixed()
    before = state(model)
    with pytest.raises(ValueError, match="stop"), frozen_eval(model):
        raise ValueError("stop")
    assert state(model) == before


def test_parts_that_join_meanwhile_are_left_alone() -> None:
    model = mixed()
    with frozen_eval(model):
        model.append(nn.Dropout())
    assert model[-1].training


def test_stubborn_modules_are_set_too() -> None:
    model = mixed()
    set_eval(model)
    assert not any(m.training for m in model.modules())


def test_the_device_is_that_of_the_first_parameter() -> None:
    assert device_of(nn.Conv2d(3, 3, 1, device="meta")) == torch.device("meta")
    assert device_of(nn.Identity()) == torch.device("cpu")
