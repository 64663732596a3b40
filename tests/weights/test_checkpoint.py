"""Checkpoints are read as data: as torch reads them, and with anything beside."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import pathlib
import pickle
import random
import re
import sys
import types
import uuid
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
import torch
from support.checkpoints import *  # noqa: F403 - fixtures, found by their names
from support.checkpoints import FORMS, Call
from torch import Tensor, nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.checkpoint import read_checkpoint
from ansm_plugin.weights.convert import convert_checkpoint
from ansm_plugin.weights.inert import Made

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32,
    torch.int16, torch.int8, torch.uint8, torch.bool, torch.complex64, torch.complex128,
    torch.float8_e4m3fn, torch.uint16,
)  # fmt: skip


class Mode(enum.Enum):
    """An enum of a trainer."""

    TRAIN = "train"


class Options:
    """A class of a trainer's own."""

    def __init__(self) -> None:
        self.rate, self.path = 0.1, Path("runs")


class Config(dict[str, Any]):
    """A dict of a package, as yacs, addict and mmengine have."""


class Levels(list[int]):
    """A list of a package."""


def tensors() -> dict[str, Tensor]:
    """Return tensors of every dtype, some views of one memory, some empty, some transposed."""
    shared = torch.arange(6.0)
    found = {str(d): torch.arange(6).reshape(2, 3).to(d).t() for d in DTYPES}
    return found | {
        "empty": torch.empty(0, 3),
        "number": torch.tensor(3.0),
        "parameter": nn.Parameter(torch.ones(2)),
        "whole": shared,
        "part": shared[2:],
        "repeated": torch.ones(1).expand(3, 3),
    }


def as_bytes(tensor: Tensor) -> bytes:
    return tensor.detach().reshape(-1).contiguous().view(torch.uint8).numpy().tobytes()


@pytest.mark.parametrize("form", FORMS)
def test_tensors_are_those_of_torchs_own_loader(form: str, source: Path) -> None:
    state = tensors()
    if form.startswith("legacy"):  # the newest dtypes are younger than the form
        del state["torch.float8_e4m3fn"], state["torch.uint16"]
    torch.save(collections.OrderedDict(state), source, **FORMS[form])
    ours = read_checkpoint(source)
    theirs = torch.load(source, weights_only=False)
    assert list(ours.value) == list(theirs)
    assert ours.made == ()
    for name, tensor in theirs.items():
        mine = ours.value[name]
        assert (mine.dtype, mine.shape) == (tensor.dtype, tensor.shape)
        assert as_bytes(mine) == as_bytes(tensor)


@pytest.mark.parametrize("protocol", range(6))
def test_a_state_that_pickle_wrote_is_read(protocol: int, source: Path) -> None:
    state = {"a.weight": torch.arange(3.0), "a.bias": torch.ones(1, dtype=torch.int64)}
    source.write_bytes(pickle.dumps({"model": state, "best": np.float64(1)}, protocol))
    read = read_checkpoint(source)
    assert all(torch.equal(read.value["model"][name], state[name]) for name in state)
    assert read.made == ("numpy scalar",)


# --- harmless things beside the tensors -----------------------------------------------------------

HARMLESS: dict[str, Any] = {
    "numpy.float64": np.float64(0.9),
    "numpy.int8": np.int8(3),
    "numpy.bool": np.bool_(True),
    "numpy.str": np.str_("best"),
    "numpy.datetime64": np.datetime64("2024-01-01"),
    "numpy array": np.arange(3.0),
    "numpy array of objects": np.array([Path("a"), None], dtype=object),
    "numpy record": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]),
    "numpy masked array": np.ma.masked_array([1, 2], [0, 1]),
    "numpy dtype": np.dtype("float32"),
    "numpy type": np.float32,
    "numpy generator": np.random.default_rng(0),
    "numpy random state": np.random.RandomState(0),
    "path": Path("runs"),
    "PurePosixPath": pathlib.PurePosixPath("runs"),
    "PureWindowsPath": pathlib.PureWindowsPath("C:/runs"),
    "defaultdict": collections.defaultdict(list, {"loss": [1.0]}),
    "OrderedDict": collections.OrderedDict(a=1),
    "Counter": collections.Counter("aab"),
    "deque": collections.deque([1], maxlen=3),
    "datetime": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "date": datetime.date(2024, 1, 1),
    "time": datetime.time(1),
    "timedelta": datetime.timedelta(1),
    "timezone": datetime.timezone(datetime.timedelta(hours=2), "here"),
    "Namespace": argparse.Namespace(rate=0.1, output=Path("runs")),
    "SimpleNamespace": types.SimpleNamespace(rate=np.float32(1)),
    "enum": Mode.TRAIN,
    "own class": Options(),
    "own dict": Config(rate=0.1, inner=Config(a=1)),
    "own list": Levels([1, 2]),
    "class itself": Options,
    "function itself": nn.functional.relu,
    "torch.Size": torch.Size([1, 2]),
    "torch.device": torch.device("cuda:0"),
    "torch.dtype": torch.float16,
    "torch layout": torch.strided,
    "random state": random.getstate(),
    "torch random state": torch.get_rng_state(),
    "set": {1, "a"},
    "frozenset": frozenset([1]),
    "complex": 1j,
    "bytes": b"12",
    "bytearray": bytearray(b"12"),
    "range": range(3),
    "slice": slice(1, 2),
    "large number": 2**2000,
    "regular expression": re.compile("a+"),
    "Decimal": decimal.Decimal("0.1"),
    "UUID": uuid.UUID(int=3),
    "exception": ValueError("stopped"),
    "type of None": type(None),
    "optional type": Optional[int],  # noqa: UP045 - as older configs have it
    "key that is a path": {Path("a"): 1, Mode.TRAIN: 2, torch.Size([1]): 3, (1, (2, "b")): 4},
    "optimiser": torch.optim.Adam([nn.Parameter(torch.ones(2))]).state_dict(),
    "optimiser itself": torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", HARMLESS)
def test_harmless_things_beside_the_tensors_are_dropped(
    kind: str, form: str, source: Path, target: Path
) -> None:
    state = {"conv.weight": torch.arange(4.0)}
    torch.save({"state_dict": state, "beside": HARMLESS[kind]}, source, **FORMS[form])
    done = convert_checkpoint(source, target)
    assert (done.place, done.kept, done.beside) == (("state_dict",), ("conv.weight",), ("beside",))


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (np.float64(0.9), ("numpy scalar",)),
        (np.arange(3), ("numpy array",)),
        (pathlib.PurePosixPath("a"), ("pathlib.PurePosixPath",)),
        ({"deep": [(Options(),)]}, (f"{__name__}.Options", f"pathlib.{type(Path()).__name__}")),
        (collections.defaultdict(list), ()),
        (torch.Size([1]), ()),
    ],
)
def test_what_was_not_made_is_named_with_its_kind(
    value: Any, made: tuple[str, ...], source: Path, target: Path
) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}, "beside": value}, source)
    assert convert_checkpoint(source, target).made == made


@pytest.mark.parametrize("core", ["core", "_core"])
def test_both_paths_of_numpy_are_known(core: str, source: Path) -> None:
    content = pickle.dumps([np.float64(1), np.arange(2)], 2)
    content = re.sub(rb"cnumpy\._?core\.", f"cnumpy.{core}.".encode(), content)
    source.write_bytes(content)
    assert read_checkpoint(source).made == ("numpy scalar", "numpy array")


@pytest.mark.parametrize(
    ("module", "name", "base"),
    [
        ("omegaconf.dictconfig", "DictConfig", object),
        ("omegaconf.listconfig", "ListConfig", object),
        ("yacs.config", "CfgNode", dict),
        ("addict.addict", "Dict", dict),
        ("easydict", "EasyDict", dict),
        ("mmengine.config.config", "ConfigDict", dict),
        ("mmengine.logging.history_buffer", "HistoryBuffer", object),
        ("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint", object),
        ("gone", "lowercase", list),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_classes_that_are_not_installed_are_no_hindrance(
    module: str, name: str, base: type, protocol: int, source: Path, target: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    kind = type(name, (base,), {"__module__": module})
    thing = kind()
    thing.content = {"rate": 0.1, "inner": kind()}
    if base is dict:
        thing["path"] = Path("a")
    with monkeypatch.context() as installed:
        parts = module.split(".")
        for end in range(1, len(parts) + 1):
            installed.setitem(sys.modules, ".".join(parts[:end]), types.ModuleType(module))
        setattr(sys.modules[module], name, kind)
        checkpoint = {"state_dict": {"w": torch.ones(1)}, "cfg": thing, kind: 3}
        torch.save(checkpoint, source, pickle_protocol=protocol)
    assert f"{module}.{name}" in convert_checkpoint(source, target).made


def test_a_state_inside_the_dict_of_a_package_is_found(source: Path, target: Path) -> None:
    torch.save(Config(state_dict=Config({"w": torch.ones(1)})), source)
    assert convert_checkpoint(source, target).place == ("state_dict",)


class Special(Tensor):
    """A tensor of a class of one's own."""


@pytest.mark.parametrize(
    "value",
    [
        torch.eye(2).to_sparse(),
        torch.ones(2, device="meta"),
        torch.ones(2).as_subclass(Special),
        Call(Options),
    ],
)
def test_tensors_that_need_code_are_refused(value: Any, source: Path, target: Path) -> None:
    if isinstance(value, Call):
        value = types.SimpleNamespace(packed=torch.ones(2))
    torch.save({"a.weight": torch.ones(1), "b.weight": value}, source)
    with pytest.raises(WeightsError, match=r"keeps b\.weight as a .* needs code"):
        convert_checkpoint(source, target)


def test_what_is_not_made_compares_by_identity() -> None:
    first, second = Made("a"), Made("a")
    assert first != second
    assert len({first, second}) == 2
    assert repr(first) == "a"
