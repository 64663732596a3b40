"""Checkpoints are read as data: as torch reads them, with anything beside, and nothing is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import functools
import io
import os
import pathlib
import pickle
import random
import re
import subprocess
import sys
import tarfile
import types
import uuid
import zipfile
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pytest
import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.checkpoint import read_checkpoint
from ansm_plugin.weights.convert import convert_checkpoint
from ansm_plugin.weights.inert import Made

FORMS = {
    "zip": {},
    "zip, protocol 4": {"pickle_protocol": 4},
    "legacy": {"_use_new_zipfile_serialization": False},
    "legacy, protocol 5": {"_use_new_zipfile_serialization": False, "pickle_protocol": 5},
}
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


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "old.pth"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new.safetensors"


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


# --- what runs code -------------------------------------------------------------------------------


class Call:
    """Calls a function where it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, ...]:
        """Say how to be made again."""
        return self.call

    def __call__(self) -> None:
        """Be callable, for pickle asks that of what it writes as a function."""


def touch(path: str) -> None:
    """Leave a trace, from a module that is there."""
    Path(path).touch()


def evil(trap: Path) -> dict[str, Any]:
    """Return things that would touch the trap where they are unpickled, each another way."""
    shell = f"touch {trap}"
    return {
        "os.system": Call(os.system, shell),
        "subprocess.call": Call(subprocess.call, shell.split()),
        "subprocess.Popen": Call(subprocess.Popen, shell.split()),
        "eval": Call(eval, f"open({str(trap)!r}, 'w')"),
        "exec": Call(exec, f"open({str(trap)!r}, 'w')"),
        "open": Call(open, str(trap), "w"),
        "io.open": Call(io.open, str(trap), "w"),
        "import": Call(__import__, "os"),
        "method": Call(Path.touch, trap),
        "getattr of what another call gave": Call(getattr, Call(getattr, Path, "home"), "x"),
        "getattr of a class": Call(Call(getattr, Path, "touch"), trap),
        "function of a module": Call(touch, str(trap)),
        "map": Call(list, Call(map, touch, [str(trap)])),
        "partial": Call(functools.partial, touch, str(trap)),
        "nested": [{"a": (Call(dict, [("b", Call(os.system, shell))]),)}],
        "state": Call(collections.OrderedDict, [["a", Call(os.system, shell)]]),
        "array of objects": np.array([Call(os.system, shell)], dtype=object),
        "torch.load": Call(torch.load, str(trap)),
        "pickle.loads": Call(pickle.loads, pickle.dumps(Call(os.system, shell))),
        "in an option": argparse.Namespace(hook=Call(os.system, shell)),
        "key": {Call(os.system, shell): 1},
    }


WAYS = list(evil(Path()))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", ["beside", "inside", "alone"])
def test_a_file_that_runs_code_is_refused_and_nothing_is_run(
    way: str, place: str, form: str, source: Path, target: Path, tmp_path: Path
) -> None:
    trap = tmp_path / "trap"
    thing = evil(trap)[way]
    state: dict[str, Any] = {"w": torch.ones(1)}
    checkpoint = {"beside": {"state_dict": state, "x": thing}, "inside": state | {"x": thing}}
    torch.save(checkpoint.get(place, thing), source, **FORMS[form])
    with pytest.raises(WeightsError, match="nothing of it was run"):
        convert_checkpoint(source, target)
    assert not trap.exists()
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'touch TRAP'\ntR.",
        b"(S'touch TRAP'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'touch TRAP'\no.",  # OBJ
        b"\x80\x02cposix\nsystem\nX\x0a\x00\x00\x00touch TRAP\x85R.",
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0atouch TRAP\x85R.",  # STACK_GLOBAL
        b"\x80\x04\x8c\x07pathlib\x8c\x09os.system\x93\x8c\x0atouch TRAP\x85R.",
        b"\x80\x02c__builtin__\neval\nX\x02\x00\x00\x0012\x85R.",
        b"\x80\x02ccommands\ngetoutput\nX\x0a\x00\x00\x00touch TRAP\x85R.",
        b"\x80\x02ctypes\nFunctionType\n)R.",
        b"\x80\x02csys\nmodules\n.",
        b"\x80\x02\x82\x01.",  # EXT1
        b"Pstorage\n.",  # PERSID
        b"\x80\x02X\x01\x00\x00\x00aQ.",  # a persistent id that is no storage
    ],
)
def test_pickles_by_hand_run_nothing(
    content: bytes, source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    source.write_bytes(content)
    with pytest.raises(WeightsError):
        convert_checkpoint(source, target)
    assert not (source.parent / "TRAP").exists()


def test_what_a_file_names_is_never_imported(source: Path) -> None:
    source.write_bytes(b"\x80\x02cantigravity\nFly\n)\x81cantigravity\n_fly\n)R\x86.")
    assert read_checkpoint(source).made == ("antigravity.Fly", "antigravity._fly")
    assert "antigravity" not in sys.modules


def test_hooks_of_a_class_that_is_there_are_never_called(source: Path, target: Path) -> None:
    class_name = f"{__name__}\nHooked"
    source.write_bytes(b"\x80\x02c%s\nK\x01\x85\x81}b." % class_name.encode())
    with pytest.raises(WeightsError, match="no tensors found"):
        convert_checkpoint(source, target)
    assert not Hooked.called


class Hooked:
    """Notes every hook that a pickle can reach."""

    called: list[str] = []  # noqa: RUF012 - of the class on purpose

    def __new__(cls, *arguments: Any) -> Hooked:
        """Note it."""
        cls.called.append("new")
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        """Note it."""
        self.called.append("setstate")


# --- files that fill or end the process -----------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02}" + b"K\x01" + b"\x85" * 500_000 + b"K\x01s.",  # hashing such a key never ends
        b"\x80\x02}K\x01" + b"2" * 30_000 + b"(" + b"K\x01" * 3 + b"t" + b"K\x01s.",
        b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",  # lists in lists
        b"\x80\x02K\x01r\xff\xff\xff\x7f.",  # a memo of two billion places
        b"\x80\x04\x8e" + b"\xff" * 7 + b"\x7f.",  # bytes without end
        b"\x80\x02ccopyreg\n_reconstructor\n(" + b"ccopyreg\n_reconstructor\n" * 5000 + b"tR.",
    ],
)
def test_files_made_to_harm_the_process_are_refused(
    content: bytes, source: Path, target: Path
) -> None:
    source.write_bytes(content)
    with pytest.raises(WeightsError):
        convert_checkpoint(source, target)


def test_a_key_that_branches_without_end_is_refused(source: Path, target: Path) -> None:
    content = b"\x80\x02K\x01" + b"".join(b"q%c(" % n + b"h%c" % n * 9 + b"t" for n in range(30))
    source.write_bytes(content + b"q\x1e}h\x1eK\x01s.")
    with pytest.raises(WeightsError, match="key of too many parts"):
        convert_checkpoint(source, target)


def test_places_that_branch_without_end_are_walked_once(source: Path, target: Path) -> None:
    nested: dict[str, Any] = {"epoch": 1}
    for _ in range(31):
        nested = dict.fromkeys(("model", "net", "module", "ema", "other", "another"), nested)
    torch.save(nested, source)
    with pytest.raises(WeightsError, match="no tensors found"):
        convert_checkpoint(source, target)


def test_odd_escapes_in_text_are_no_warning(source: Path) -> None:
    source.write_bytes(b"S'a\\q'\n.")
    assert read_checkpoint(source).value == "a\\q"


def test_a_file_that_refers_to_itself_is_read(source: Path, target: Path) -> None:
    loop: dict[str, Any] = {"w": torch.ones(1)}
    loop["model"] = loop["other"] = loop
    torch.save(loop, source)
    assert convert_checkpoint(source, target).kept == ("w",)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_tensors_that_reach_beyond_their_memory_are_refused(
    form: str, source: Path, target: Path
) -> None:
    torch.save({"w": torch.ones(3)}, source, **FORMS[form])
    content = source.read_bytes()
    shape, larger = b"K\x03\x85", b"K\xff\x85"
    assert content.count(shape) == 1
    if form == "zip":
        with zipfile.ZipFile(source) as old:
            entries = {name: old.read(name).replace(shape, larger) for name in old.namelist()}
        with zipfile.ZipFile(source, "w") as new:
            for name, entry in entries.items():
                new.writestr(name, entry)
    else:
        source.write_bytes(content.replace(shape, larger))
    with pytest.raises(WeightsError, match="cannot be read as a torch checkpoint"):
        convert_checkpoint(source, target)


# --- tensors that need code, and other kinds of files ---------------------------------------------


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


def test_extra_state_is_dropped(source: Path, target: Path) -> None:
    extra = types.SimpleNamespace(scale=torch.ones(2))
    torch.save({"a.weight": torch.ones(1), "a._extra_state": extra}, source)
    done = convert_checkpoint(source, target)
    assert (done.kept, done.dropped) == (("a.weight",), ("a._extra_state",))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["", "model"])
def test_a_model_that_was_pickled_whole_is_refused_with_words(
    form: str, place: str, source: Path, target: Path
) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
    torch.save({place: model} if place else model, source, **FORMS[form])
    match = r"whole object .*Sequential.*state_dict\(\)"
    with pytest.raises(WeightsError, match=match):
        convert_checkpoint(source, target)


def test_a_whole_model_beside_a_state_is_left_out(source: Path, target: Path) -> None:
    model = nn.Linear(2, 2)
    torch.save({"model": model, "state_dict": model.state_dict()}, source)
    done = convert_checkpoint(source, target)
    assert done.place == ("state_dict",)
    assert "torch.nn.modules.linear.Linear" in done.made


def script() -> bytes:
    stream = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(1, 1)), stream)
    return stream.getvalue()


def archive(kind: str) -> bytes:
    stream = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=stream, mode="w") as tar:
            tar.addfile(tarfile.TarInfo("model.pth"))
    else:
        with zipfile.ZipFile(stream, "w") as other:
            other.writestr("readme.txt", "hello")
    return stream.getvalue()


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (script, "TorchScript archive"),
        (lambda: archive("tar"), "tar archive; unpack it"),
        (lambda: archive("zip"), r"zip of other files \(readme\.txt\)"),
        (lambda: save_safetensors({"a": torch.ones(1)}), "safetensors already, under another name"),
        (lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
        (lambda: b"\n<!DOCTYPE html><html>", "web page"),
        (lambda: b"\x1f\x8b\x08\x00", "gunzip"),
        (lambda: b"\x89HDF\r\n\x1a\n", "HDF5"),
        (lambda: pickle.dumps({"w": np.ones(2)}), "Arrays of numpy are no tensors"),
    ],
    ids=["script", "tar", "zip", "safetensors", "lfs", "html", "gzip", "hdf5", "numpy"],
)
def test_other_kinds_of_files_are_named(
    content: Any, words: str, source: Path, target: Path
) -> None:
    source.write_bytes(content())
    with pytest.raises(WeightsError, match=words):
        convert_checkpoint(source, target)
    assert not target.exists()


def test_a_folder_is_named(tmp_path: Path, target: Path) -> None:
    with pytest.raises(WeightsError, match="is a folder"):
        convert_checkpoint(tmp_path, target)


def test_what_is_not_made_compares_by_identity() -> None:
    first, second = Made("a"), Made("a")
    assert first != second
    assert len({first, second}) == 2
    assert repr(first) == "a"
