"""A localizer that others hold, train or take apart: eval mode at each call, all given back."""

from __future__ import annotations

import copy
import gc
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ansm_plugin import LocalizerSpec, unwrap, wrap_with_ansm
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.modes import frozen_eval

SPEC = LocalizerSpec()


def localizer() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Conv2d(4, 1, 1)
    )


def wrap(model: nn.Module) -> DefendedLocalizer[Any]:
    return wrap_with_ansm(model, ansm="tiny", spec=SPEC)


def state(model: nn.Module) -> tuple[list[bool], list[bool]]:
    return [m.training for m in model.modules()], [p.requires_grad for p in model.parameters()]


@pytest.fixture
def images() -> Tensor:
    return torch.randn(2, 3, 16, 16)


# --- at each call ---------------------------------------------------------------------------------

SCORED = AttackScore(weights=(0.0,) * len(FEATURES), bias=1.0)
CALLS: dict[str, Callable[[DefendedLocalizer[Any], Tensor], Tensor]] = {
    "forward": lambda d, x: d(x),
    "compiled": lambda d, x: torch.compile(d, backend="eager", fullgraph=True)(x),
    "traced": lambda d, x: torch.jit.trace(d, (x,))(x),  # type: ignore[no-untyped-call]
    "exported": lambda d, x: torch.export.export(d, (x,)).module()(x),
    "examine": lambda d, x: d.examine(x).bare,
    "attack_score": lambda d, x: d.attack_score(x),
    "in pixels": lambda d, x: d.pixels.examine(x.sigmoid()).defended,
    "perturbation": lambda d, x: d.perturbation(x),
    "copied": lambda d, x: copy.deepcopy(d)(x),
    "in a larger module": lambda d, x: nn.Sequential(d).train()(x),
}
BEHIND: dict[str, Callable[[nn.Module], object]] = {
    "train": lambda m: m.train(),
    "one layer": lambda m: m[2].train(),  # type: ignore[index]
    "attribute": lambda m: [setattr(p, "training", True) for p in m.modules()],
    "new layer": lambda m: m.append(nn.Dropout(0.5)),  # type: ignore[operator]
    "in a container": lambda m: nn.ModuleList([m]).train(),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("behind", BEHIND)
@pytest.mark.filterwarnings("ignore:.*(trace|Trac|The .grad attribute|deprecated)")
def test_eval_mode_holds_whatever_is_done_behind_our_back(
    call: str, behind: str, images: Tensor
) -> None:
    model = localizer()
    defended = DefendedLocalizer(model, wrap(localizer()).ansm, SPEC, score=SCORED, gate=True)
    defended.eval()
    before = model[1].running_mean.clone()
    with torch.no_grad():
        expected = CALLS[call](defended, images)
        BEHIND[behind](model)
        assert torch.equal(CALLS[call](defended, images), expected)
    assert torch.equal(model[1].running_mean, before)


def test_code_that_was_compiled_before_keeps_eval_mode_too(images: Tensor) -> None:
    model = localizer()
    defended = wrap(model)
    with torch.no_grad():
        compiled = torch.compile(defended, backend="eager", fullgraph=True)
        expected = compiled(images)
        model.train()
        assert torch.equal(compiled(images), expected)


# --- given back -----------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("is_trained_between", [False, True])
def test_the_last_of_two_wraps_gives_back(
    order: tuple[int, int], is_trained_between: bool, images: Tensor
) -> None:
    model = localizer()
    model[1].eval()
    model[0].requires_grad_(False)
    before = state(model)
    pairs = [wrap(model), wrap(model)]
    expected = pairs[0](images)
    assert unwrap(pairs[order[0]]) is model
    if is_trained_between:
        model.train()
    other = pairs[order[1]]
    assert torch.equal(other(images), expected)
    assert state(model) == ([False] * 5, [False] * 6)
    assert unwrap(other) is model
    assert state(model) == before


def test_a_wrapper_and_the_bare_localizer_are_held_alike(images: Tensor) -> None:
    model = localizer()
    outer, bare = wrap(nn.DataParallel(model)), wrap(model)
    unwrap(bare)
    assert torch.equal(outer(images), outer(images))
    unwrap(outer)
    assert all(map(all, state(model)))


def test_two_localizers_may_share_an_encoder(images: Tensor) -> None:
    encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.5))
    first, second = (nn.Sequential(encoder, nn.Conv2d(4, 1, 1)) for _ in range(2))
    one, two = wrap(first), wrap(second)
    unwrap(one)
    assert not encoder.training
    assert first[1].training
    assert torch.equal(two(images), two(images))
    unwrap(two)
    assert all(map(all, (*state(first), *state(second))))


def test_a_wrap_that_was_dropped_holds_nothing_back() -> None:
    """`defended = wrap(...)` again under the same name, to compare two files."""
    model = localizer()
    defended = wrap(model)
    defended = wrap(model)
    gc.collect()
    unwrap(defended)
    assert all(map(all, state(model)))


def test_unwrapping_twice_changes_nothing() -> None:
    model = localizer()
    defended = wrap(model)
    unwrap(defended)
    model.eval()
    model[0].requires_grad_(False)
    before = state(model)
    assert unwrap(defended) is model
    assert state(model) == before


def test_a_pair_that_was_unwrapped_does_not_train_its_localizer(images: Tensor) -> None:
    model = localizer().eval()
    defended = wrap(model)
    expected = defended(images)
    unwrap(defended)
    assert torch.equal(defended(images), expected)  # still in eval mode: no harm
    model.train()
    with pytest.raises(LocalizerError, match=r"was unwrapped.*train mode.*wrap_with_ansm"):
        defended(images)
    assert model.training


@pytest.mark.parametrize(
    "twin", [copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d)), lambda d: _saved(d)]
)
def test_a_copy_holds_its_own_localizer(twin: Callable[[Any], Any], images: Tensor) -> None:
    model = localizer()
    defended = wrap(model)
    copied = twin(defended)
    again = wrap(copied.localizer)
    unwrap(copied)
    assert torch.equal(again(images), defended(images))
    unwrap(again)
    assert all(map(all, state(copied.localizer)))
    assert not model.training
    unwrap(defended)
    assert all(map(all, state(model)))


def _saved(defended: Any) -> Any:
    stream = io.BytesIO()
    torch.save(defended, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=False)


# --- surgery --------------------------------------------------------------------------------------

SURGERY: dict[str, Callable[[nn.Sequential], object]] = {
    "another head": lambda m: m.__setitem__(3, nn.Sequential(nn.Conv2d(4, 2, 1), nn.Dropout())),
    "fewer layers": lambda m: m.__delitem__(2),
    "more layers": lambda m: m.append(nn.Conv2d(1, 1, 1)),
    "layers in front": lambda m: m.insert(0, nn.Conv2d(3, 3, 1)),
    "other order": lambda m: m.insert(1, m.pop(2)),
    "another parameter": lambda m: setattr(m[0], "weight", nn.Parameter(torch.ones(4, 3, 3, 3))),
    "no bias": lambda m: m[0].register_parameter("bias", None),
    "weight norm": lambda m: parametrizations.weight_norm(m[3]),  # type: ignore[no-untyped-call]
    "another dtype": lambda m: m.double(),
    "another device": lambda m: m.to("meta"),
    "assigned": lambda m: m.load_state_dict(localizer().state_dict(), strict=False, assign=True),
    "frozen twice": lambda m: frozen_eval(m).__enter__(),
}


@pytest.mark.parametrize("surgery", SURGERY)
def test_after_surgery_what_is_still_there_is_given_back(surgery: str) -> None:
    model = localizer()
    model[1].eval()
    model[1].requires_grad_(False)
    parts = list(model)
    kept = {id(p): p.requires_grad for p in model.parameters()}
    defended = wrap(model)
    SURGERY[surgery](model)
    assert unwrap(defended) is model
    assert [p.training for p in parts] == [True, False, True, True]
    assert all(p.requires_grad == kept[id(p)] for p in model.parameters() if id(p) in kept)
    assert model.training
    if surgery in ("another device", "assigned"):  # new parameters in the old ones' place
        flags = [p.requires_grad for p in model.parameters()]
        assert flags == [True, True, False, False, True, True]


def test_a_layer_that_joined_gets_its_mode_back(images: Tensor) -> None:
    model = localizer()
    defended = wrap(model)
    head = nn.Sequential(nn.Conv2d(4, 1, 1), nn.Dropout(0.5))
    model[3] = head
    assert torch.equal(defended(images), defended(images))
    assert not head[1].training
    unwrap(defended)
    assert all(map(all, state(model)))


def test_what_was_taken_out_is_given_back_too() -> None:
    model = localizer()
    head = model[3]
    defended = wrap(model)
    model[3] = nn.Conv2d(4, 2, 1)
    unwrap(defended)
    assert all(map(all, state(head)))
