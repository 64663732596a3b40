"""Names of tensors lose what wrappers put before them, and find their place in a pair."""

from __future__ import annotations

import pytest
from torch import nn

from ansm_plugin.weights.names import (
    WRAPPERS,
    accept_bare_state,
    common_prefix,
    is_beside,
    main_prefix,
    unwrapped,
)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        ([], ""),
        (["a", "b"], ""),
        (["module.a", "b"], ""),
        (["module.a", "module.b"], "module."),
        (["_orig_mod.module.a", "_orig_mod.module.b"], "_orig_mod.module."),
        (["module.model.a", "module.model.b"], "module.model."),
        (["module.model.a", "module.b"], "module."),
    ],
)
def test_the_prefix_is_what_all_names_share(names: list[str], prefix: str) -> None:
    assert common_prefix(names) == prefix
    state = dict.fromkeys(names, 0)
    assert list(unwrapped(state)) == [name.removeprefix(prefix) for name in names]


def test_an_attribute_named_model_is_no_wrapper() -> None:
    assert unwrapped({"module.model.a": 0}, WRAPPERS) == {"model.a": 0}


@pytest.mark.parametrize("outer", ["", "pair."])
@pytest.mark.parametrize("wrapper", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("is_bare", [True, False])
def test_the_states_of_a_pair_and_of_its_localizer_are_both_taken(
    outer: str, wrapper: str, is_bare: bool
) -> None:
    localizer, ansm = nn.Linear(1, 1), nn.PReLU()
    pair = {"localizer.weight": 1.0, "localizer.bias": 2.0, "ansm.weight": 3.0}
    given = {"weight": 1.0, "bias": 2.0} if is_bare else pair
    beside = {"beside.module.x": 4.0} if outer else {}
    state = {f"{outer}{wrapper}{name}": value for name, value in given.items()} | beside
    accept_bare_state(localizer, ansm, state, outer)
    kept = pair | ({"ansm.weight": 0.25} if is_bare else {})
    found = {name: float(value) for name, value in state.items()}
    assert found == {f"{outer}{name}": value for name, value in kept.items()} | beside


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        ([], ""),
        (["a.b"], ""),
        (["model.a", "mean"], "model."),
        (["net.a", "weight"], ""),
        (["model.a", "model.b", "transformer.c"], ""),
        (["student.a", "teacher.a"], "student."),
        (["model.net.a", "model.head.b"], "model."),
        (["model.module.a", "model.n_averaged", "loss.w"], "model.module."),
    ],
)
def test_the_main_prefix(names: list[str], prefix: str) -> None:
    assert main_prefix(names) == prefix


@pytest.mark.parametrize("name", ["mean", "loss.w", "val_acc.x", "DiceLoss.w", "ema.a", "net.a"])
def test_what_is_a_trainers(name: str) -> None:
    assert is_beside(name)


@pytest.mark.parametrize("name", ["weight", "bias", "head.a", "transformer.a", "glossary.a"])
def test_what_is_not_a_trainers(name: str) -> None:
    assert not is_beside(name)
