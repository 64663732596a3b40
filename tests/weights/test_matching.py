"""Which tensors of a checkpoint are the model's: places, prefixes, a localizer that is named."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from support.small_net import *  # noqa: F403 - fixtures, found by their names
from support.small_net import State, net
from torch import nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.convert import Conversion, Wanted, convert_checkpoint
from ansm_plugin.weights.names import missing_counters
from ansm_plugin.weights.states import PLACES
from ansm_plugin.weights.tensors import load_localizer_weights

BESIDE: dict[str, State] = {
    "nothing": {},
    "normalisation": {"mean": torch.zeros(3), "std": torch.ones(3)},
    "pixel normalisation": {"pixel_mean": torch.zeros(3), "normalizer.std": torch.ones(3)},
    "average": {"n_averaged": torch.tensor(3)},
    "weighted loss": {"loss.pos_weight": torch.ones(1)},
    "weighted losses": {"criterion.weight": torch.ones(2), "seg_loss.weight": torch.ones(2)},
    "loss class": {"BCELoss.weight": torch.ones(2), "loss_fn.bce.pos_weight": torch.ones(1)},
    "metrics": {"val_f1.tp": torch.ones(1), "train_metrics.iou.confmat": torch.ones(2, 2)},
    "class weights": {"class_weights": torch.ones(2)},
}
CHAINS = (
    "model.", "net.", "network.", "module.", "_orig_mod.", "model.module.", "module.model.",
    "model._orig_mod.", "_orig_mod.module.", "ema_model.", "shadow.", "ema_model.module.",
    "model.net.", "student.",
)  # fmt: skip


class Wrapper(nn.Module):
    """A localizer whose own names begin as trainers' do."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()
        self.register_buffer("mean", torch.zeros(3))


def convert(content: Any, folder: Path, localizer: nn.Module | None = None) -> Conversion:
    """Save and convert a checkpoint, which must then load where a localizer is named."""
    source, target = folder / "a.pth", folder / "a.safetensors"
    torch.save(content, source)
    wanted = Wanted(localizer, "NAME") if localizer else None
    done = convert_checkpoint(source, target, force=True, wanted=wanted)
    if localizer:
        assert done.checked == "NAME"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_localizer_weights(copy.deepcopy(localizer), target)
    return done


def written(folder: Path) -> State:
    return load_file(str(folder / "a.safetensors"))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("beside", BESIDE)
def test_a_prefix_that_not_all_names_carry_is_stripped(
    beside: str, chain: str, named: bool, state: State, tmp_path: Path
) -> None:
    content = {**{chain + name: value for name, value in state.items()}, **BESIDE[beside]}
    done = convert({"state_dict": content}, tmp_path, net() if named else None)
    assert (done.prefix, done.foreign) == (chain, tuple(BESIDE[beside]))
    assert written(tmp_path).keys() == state.keys()
    load_localizer_weights(net(), tmp_path / "a.safetensors")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_the_places_of_trainers_are_known(
    place: str, named: bool, state: State, tmp_path: Path
) -> None:
    done = convert({"epoch": 1, place: state}, tmp_path, net() if named else None)
    assert (done.place, done.beside) == ((place,), ("epoch",))


def test_a_lone_state_at_an_unusual_place_is_found(state: State, tmp_path: Path) -> None:
    optimizer = torch.optim.Adam(net().parameters())
    content = {"step": torch.tensor(1), "my_net_v2": state, "optimizer": optimizer.state_dict()}
    assert convert(content, tmp_path).place == ("my_net_v2",)


def test_several_states_at_unusual_places_need_a_name(state: State, tmp_path: Path) -> None:
    other = {f"deep.{name}": torch.zeros(1) for name in state}
    content = {"first_one": other, "second_one": state}
    with pytest.raises(WeightsError, match=r"several states .*first_one, second_one.*--for NAME"):
        convert(content, tmp_path)
    assert convert(content, tmp_path, net()).place == ("second_one",)


def test_a_model_and_its_average_in_one_state(state: State, tmp_path: Path) -> None:
    average = {f"ema_model.{name}": value + 1 for name, value in state.items()}
    content = {**{f"model.{name}": value for name, value in state.items()}, **average}
    for localizer in (None, net()):
        done = convert({"state_dict": content}, tmp_path, localizer)
        assert (done.prefix, done.foreign) == ("model.", tuple(average))
        assert torch.equal(written(tmp_path)["0.weight"], state["0.weight"])


def test_other_layers_beside_the_prefix_are_part_of_the_model(state: State, tmp_path: Path) -> None:
    content = {f"model.{name}": value for name, value in state.items()}
    content |= {"head.weight": torch.ones(2), "semantic.bias": torch.ones(2)}
    done = convert(content, tmp_path)
    assert (done.prefix, done.foreign) == ("", ())
    assert written(tmp_path).keys() == content.keys()


@pytest.mark.parametrize("inner", ["_orig_mod.", "_checkpoint_wrapped_module."])
def test_wrappers_inside_names_are_left_out(inner: str, state: State, tmp_path: Path) -> None:
    content = {f"module.{n.replace('.', f'.{inner}')}": v for n, v in state.items()}
    for localizer in (None, net()):
        convert(content, tmp_path, localizer)
        assert written(tmp_path).keys() == state.keys()


def test_names_that_are_the_localizers_own_load_again(tmp_path: Path) -> None:
    """A localizer may call its own attribute `net`; the prefix is put back when it is loaded."""

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

    convert(Own().state_dict(), tmp_path)
    assert not any(name.startswith("net.") for name in written(tmp_path))
    load_localizer_weights(Own(), tmp_path / "a.safetensors")
    load_localizer_weights(net(), tmp_path / "a.safetensors")
    convert(Own().state_dict(), tmp_path, Own())
    assert written(tmp_path).keys() == Own().state_dict().keys()
    with safe_open(str(tmp_path / "a.safetensors"), framework="pt") as handle:
        assert handle.metadata() == {"format": "localizer", "source": "a.pth"}


# --- the localizer is named -----------------------------------------------------------------------


@pytest.mark.parametrize("chain", ["", "module.", "segmentor.", "pl_module.net.", "a.b.c."])
def test_any_prefix_is_found_for_a_named_localizer(
    chain: str, state: State, tmp_path: Path
) -> None:
    content = {f"{chain}{n}": v for n, v in state.items()} | {"other_net.x": torch.ones(3)}
    if not chain:
        del content["other_net.x"]
    assert convert(content, tmp_path, net()).prefix == chain


def test_what_the_localizer_wants_is_kept(tmp_path: Path) -> None:
    own = Wrapper().state_dict()
    for chain in ("", "module.", "model."):
        convert({chain + name: value for name, value in own.items()}, tmp_path, Wrapper())
        assert written(tmp_path).keys() == own.keys()


def test_a_prefix_that_the_file_lacks_is_added(state: State, tmp_path: Path) -> None:
    localizer = nn.ModuleDict({"net": net()})
    convert({f"module.{name}": value for name, value in state.items()}, tmp_path, localizer)
    assert written(tmp_path).keys() == localizer.state_dict().keys()


def test_among_places_the_one_that_fits_is_taken(state: State, tmp_path: Path) -> None:
    content = {"model": net(8).state_dict(), "model_ema": {"module": state}, "teacher": dict(state)}
    done = convert(content, tmp_path, net())
    assert (done.place, done.twins) == (("model_ema", "module"), ("teacher",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("2.weight"), r"1 missing: 2\.weight \(nearest there: .\.weight\)"),
        (lambda s: s.update({"3.weight": torch.ones(2)}), r"1 unknown: 3\.weight"),
        (
            lambda s: s.update({"2.bias": torch.ones(2)}),
            r"1 of another shape: 2\.bias is \(2,\), not \(1,\)",
        ),
        (lambda s: s["0.weight"].fill_(float("nan")), "NaN or infinite"),
        (lambda s: s.pop("1.running_mean"), r"1 missing: 1\.running_mean"),
        (lambda s: [s.pop(name) for name in list(s)[1:]], "8 missing"),
        (lambda s: [s.update({f"x{n}": s.pop(n)}) for n in list(s)], "holds no tensor of NAME"),
    ],
)
def test_a_checkpoint_that_cannot_fit_is_refused_and_nothing_written(
    change: Any, words: str, state: State, tmp_path: Path
) -> None:
    state = {name: value.clone() for name, value in state.items()}
    change(state)
    with pytest.raises(WeightsError, match=words):
        convert({"model": state}, tmp_path, net())
    assert not (tmp_path / "a.safetensors").exists()


def test_a_deeper_network_does_not_pass_for_a_shallower_one(tmp_path: Path) -> None:
    deep = nn.Sequential(*net(), nn.Conv2d(1, 1, 1))
    with pytest.raises(WeightsError, match=r"2 unknown: 3\.weight, 3\.bias"):
        convert(deep.state_dict(), tmp_path, net())


# --- BatchNorms without their counter -------------------------------------------------------------


def test_missing_counters_are_filled_where_the_localizer_is_named(
    state: State, tmp_path: Path
) -> None:
    del state["1.num_batches_tracked"]
    done = convert(state, tmp_path, net())
    assert done.filled == ("1.num_batches_tracked",)
    assert "1.num_batches_tracked" not in done.kept


def test_missing_counters_are_filled_with_zeros_when_loaded(state: State, tmp_path: Path) -> None:
    del state["1.num_batches_tracked"]
    convert(state, tmp_path)
    localizer = net()
    localizer[1].num_batches_tracked.fill_(7)  # type: ignore[index,operator,union-attr]
    with pytest.warns(UserWarning, match="no num_batches_tracked of 1 BatchNorms") as said:
        load_localizer_weights(localizer, tmp_path / "a.safetensors")
    assert len(said) == 1
    assert localizer.state_dict()["1.num_batches_tracked"] == 0
    assert torch.equal(localizer.state_dict()["0.weight"], state["0.weight"])


def test_nothing_else_is_filled(state: State, tmp_path: Path) -> None:
    for name in ("1.running_mean", "1.num_batches_tracked"):
        del state[name]
    convert(state, tmp_path)
    with pytest.raises(WeightsError, match="2 tensors missing"):
        load_localizer_weights(net(), tmp_path / "a.safetensors")
    assert missing_counters(["a.num_batches_tracked"], ["b.running_mean"]) == []
