"""Checkpoints made to do harm: nothing in them is run, no process is filled or ended."""

from __future__ import annotations

import argparse
import collections
import functools
import io
import os
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.checkpoints import *  # noqa: F403 - fixtures, found by their names
from support.checkpoints import FORMS, Call

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.checkpoint import read_checkpoint
from ansm_plugin.weights.convert import convert_checkpoint

# --- what runs code -------------------------------------------------------------------------------


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
