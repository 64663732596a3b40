"""Malformed checkpoints: damaged ones, and ones that hold anything."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from hypothesis import strategies as st
from safetensors.torch import load
from support.hunts import Hunt, damaged
from support.malformed_weights import localizer

from ansm_plugin.errors import WeightsError
from ansm_plugin.weights.convert import convert_checkpoint


@functools.cache
def checkpoints() -> list[bytes]:
    """Return what trainers write, in today's and in the old form of torch's files."""
    state = localizer().state_dict()
    found = []
    for value in (state, {"model": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}):
        for is_zip in (True, False):
            stream = io.BytesIO()
            torch.save(value, stream, _use_new_zipfile_serialization=is_zip)
            found.append(stream.getvalue())
    return found


def check_checkpoint(folder: Path, content: bytes) -> None:
    """A checkpoint becomes safetensors that can be read, or is refused and leaves nothing."""
    source, target = folder / "a.pth", folder / "b.safetensors"
    source.write_bytes(content)
    target.unlink(missing_ok=True)
    try:
        done = convert_checkpoint(source, target)
    except WeightsError:
        assert not target.exists()
        return
    assert set(load(target.read_bytes())) == set(done.kept)


_TENSORS = st.sampled_from(
    [
        torch.zeros(2),
        torch.zeros(()),
        torch.zeros(0),
        torch.zeros(1).expand(10**12),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(2, 2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.zeros(4, 4).t(),
        torch.tensor([True]),
    ]
)
_NAMES = st.sampled_from(["a", "module.", "model", "state_dict", "__metadata__", ""]) | st.integers(
    0, 2
)
_CHECKPOINTS = st.recursive(
    _TENSORS | st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=8,
)


def check_content(folder: Path, value: Any) -> None:
    """What a checkpoint holds may be of any form."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.save(value, stream)
        check_checkpoint(folder, stream.getvalue())


HUNTS = [
    Hunt("checkpoints, damaged", damaged(checkpoints), check_checkpoint),
    Hunt("checkpoints, content", _CHECKPOINTS, check_content),
]
