"""Checkpoints as any trainer may write them: what is the model's comes out, and nothing is run."""

from __future__ import annotations

import argparse
import collections
import datetime
import pathlib
import pickle
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.checkpoint import read_checkpoint
from ansm_plugin.weights.convert import Wanted, convert_checkpoint
from ansm_plugin.weights.states import PLACES
from ansm_plugin.weights.tensors import load_localizer_weights

CASES = settings(max_examples=40, derandomize=True, deadline=None)
_SOME = st.sampled_from(
    [
        np.float64(0.5),
        np.arange(2),
        pathlib.PurePosixPath("a"),
        pathlib.PureWindowsPath("b"),
        collections.defaultdict(list),
        collections.Counter("ab"),
        datetime.datetime(2024, 1, 1),
        argparse.Namespace(a=np.int8(1)),
        types.SimpleNamespace(b={1, 2}),
        torch.Size([1]),
        torch.float16,
        torch.device("cpu"),
        nn.ReLU,
        None,
        1,
        "text",
    ]
)
THINGS = st.recursive(
    _SOME,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner, max_size=3)
    ),
    max_leaves=6,
)
PREFIXES = st.lists(st.sampled_from(["model.", "module.", "net.", "_orig_mod."]), max_size=3)
BESIDE = st.dictionaries(
    st.sampled_from(["mean", "std", "n_averaged", "loss.pos_weight", "val_iou.confmat"]),
    st.just(torch.ones(2)),
    max_size=3,
)
EXTRA = st.dictionaries(
    st.sampled_from(["epoch", "args", "optimizer", "hyper_parameters", "best"]), THINGS, max_size=4
)
FORMS = st.fixed_dictionaries(
    {"_use_new_zipfile_serialization": st.booleans(), "pickle_protocol": st.sampled_from([2, 4])}
)


def net() -> nn.Module:
    """Return a small localizer."""
    return nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


@CASES
@given(
    places=st.lists(st.sampled_from(PLACES), max_size=3),
    prefixes=PREFIXES,
    beside=BESIDE,
    extra=EXTRA,
    form=FORMS,
    counts=st.booleans(),
    named=st.booleans(),
)
def test_the_model_comes_out_of_any_nest(
    places: list[str],
    prefixes: list[str],
    beside: dict[str, Any],
    extra: dict[str, Any],
    form: dict[str, Any],
    counts: bool,
    named: bool,
) -> None:
    prefix = "".join(prefixes)
    state = {k: v for k, v in net().state_dict().items() if counts or "batches" not in k}
    inside = {prefix + name: value for name, value in state.items()}
    # Without a prefix nobody can tell a buffer of the trainer from one of the model.
    checkpoint: dict[str, Any] = inside | (beside if named or prefix else {})
    for place in reversed(places):
        checkpoint = {**extra, place: checkpoint}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "a.pth"), Path(folder, "a.safetensors")
        torch.save(checkpoint, source, **form)
        done = convert_checkpoint(source, target, wanted=Wanted(net(), "net") if named else None)
        assert done.place == tuple(places)
        written = load_file(str(target))
        assert set(state) <= set(written) <= set(net().state_dict())
        assert all(torch.equal(written[name], state[name]) for name in state)
        if named:
            load_localizer_weights(net(), target)


# --- pickles of any instructions ------------------------------------------------------------------

_NAMES = st.sampled_from(
    [
        b"cos\nsystem\n", b"c__builtin__\neval\n", b"c__builtin__\ngetattr\n", b"cpathlib\nPath\n",
        b"ccopyreg\n_reconstructor\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch._tensor\n_rebuild_from_type_v2\n",
        b"ctorch.storage\n_load_from_bytes\n", b"cnumpy.core.multiarray\n_reconstruct\n",
        b"csubprocess\nPopen\n", b"cargparse\nNamespace\n", b"c__builtin__\nset\n",
    ]
)  # fmt: skip
_VALUES = st.sampled_from(
    [
        b"K\x01",
        b"N",
        b"\x88",
        b"]",
        b"}",
        b")",
        b"\x8f",
        b"X\x05\x00\x00\x00touch",
        b"C\x02ab",
        b"(",
    ]
)
_STEPS = st.sampled_from(
    [bytes([code]) for code in b"012abdeloQRstu\x81\x85\x86\x87\x90\x91\x93\x94"]
)
_PICKLES = st.lists(_NAMES | _VALUES | _STEPS, max_size=30).map(b"".join)
_WATCHED = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "exec",
    "pickle.find_class",
}
_heard: list[str] | None = None


def _listen(event: str, _: Any) -> None:
    if _heard is not None and event in _WATCHED:
        _heard.append(event)


sys.addaudithook(_listen)  # stays for ever, but hears nothing while _heard is None


@settings(CASES, max_examples=300)
@given(_PICKLES)
def test_pickles_of_any_instructions_run_nothing(content: bytes) -> None:
    global _heard
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "a.pth")
        source.write_bytes(b"\x80\x02" + content + b".")
        _heard = []
        try:
            read_checkpoint(source)
        except WeightsError:
            pass
        finally:
            heard, _heard = _heard, None
        assert heard == []
        assert [path.name for path in Path(folder).iterdir()] == ["a.pth"]


def test_the_watch_hears_what_pickle_does() -> None:
    global _heard
    _heard = []
    pickle.loads(b"cos\nsystem\n(S'true'\ntR.")
    heard, _heard = _heard, None
    assert "os.system" in heard
