"""Malformed weights: files of ANSMs, localizers, adapters and attack scores."""

from __future__ import annotations

import contextlib
import copy
import functools
import json
import struct
import tempfile
import warnings
from pathlib import Path

import numpy as np
import torch
from hypothesis import strategies as st
from safetensors.torch import load, save
from support.hunts import JSON, Hunt, damaged
from torch import nn

from ansm_plugin.ansm import ANSM, Architecture
from ansm_plugin.attack_score import FEATURES, AttackScore
from ansm_plugin.cli import main
from ansm_plugin.defended import wrap_with_ansm
from ansm_plugin.errors import WeightsError
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.weights.adapters import apply_adapter, save_adapter
from ansm_plugin.weights.ansm_file import AnsmFile, save_ansm
from ansm_plugin.weights.tensors import load_localizer_weights

THIN = Architecture(widths=(4, 4), encoder_blocks=(1, 1), decoder_blocks=(1,))


@functools.cache
def weights() -> list[bytes]:
    """Return files of an ANSM, of a localizer and of nothing."""
    with tempfile.TemporaryDirectory() as folder:
        ansm = save_ansm(ANSM(THIN), Path(folder) / "a.safetensors").read_bytes()
    return [ansm, save(localizer().state_dict(), {"format": "localizer"}), save({})]


def localizer() -> nn.Module:
    """Return the smallest localizer."""
    return nn.Sequential(nn.Conv2d(3, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))


_ENTRIES = st.sampled_from(
    ["format", "format_version", "architecture", "stage", "localizer", "recipe", "metrics"]
)


@st.composite
def headers(draw: st.DrawFn) -> bytes:
    """Draw a safetensors file whose header says something else than its body."""
    content = weights()[draw(st.integers(0, 1))]
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    for _ in range(draw(st.integers(1, 3))):
        name = draw(st.sampled_from([*header, "new", ""]))
        field = draw(st.sampled_from(["dtype", "shape", "data_offsets", "other"]))
        if isinstance(header.get(name), dict) and draw(st.booleans()):
            header[name] = {**header[name], field: draw(JSON | _SHAPES)}
        else:
            header[name] = draw(JSON)
    text = json.dumps(header).encode()
    claimed = draw(st.just(len(text)) | st.integers(0, 2**64 - 1))
    return struct.pack("<Q", claimed) + text + content[8 + length :]


_SHAPES = st.lists(st.integers(-1, 2**40), max_size=4)


@st.composite
def metadata(draw: st.DrawFn) -> bytes:
    """Draw an ANSM file with entries of the metadata replaced; its tensors are sound."""
    content = weights()[0]
    length = struct.unpack("<Q", content[:8])[0]
    entries = dict(json.loads(content[8 : 8 + length])["__metadata__"])
    for name in draw(st.lists(_ENTRIES, min_size=1, max_size=3, unique=True)):
        entries[name] = draw(_entry(name, entries.get(name, "")))
    return save(load(content), entries)


def _entry(name: str, before: str) -> st.SearchStrategy[str]:
    deep = st.just("[" * 100_000)
    anything = JSON.map(lambda value: json.dumps(value)) | st.text(max_size=20) | deep
    if name != "architecture":
        return anything
    fields = st.dictionaries(
        st.sampled_from([*json.loads(before or "{}"), "layers"]),
        JSON | st.lists(st.integers(-1, 10**12), max_size=9),
        min_size=1,
        max_size=2,
    )
    return anything | fields.map(lambda new: json.dumps({**json.loads(before or "{}"), **new}))


def check_weights(folder: Path, content: bytes) -> None:
    """Weights are loaded and finite, or refused; `ansm info` ends well either way."""
    path = folder / "a.safetensors"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it was trained for another localizer
        with contextlib.suppress(WeightsError):
            wrap_with_ansm(localizer(), str(path))(torch.zeros(1, 3, 8, 8))
    with contextlib.suppress(WeightsError):
        load_localizer_weights(localizer(), path)
    assert main(["info", str(path)]) in (0, 2)


@functools.cache
def _adapters() -> list[bytes]:
    tuned = copy.deepcopy(_same_localizer())
    nn.init.ones_(tuned[1].weight)  # type: ignore[index]
    with tempfile.TemporaryDirectory() as folder:
        path = save_adapter(tuned, _same_localizer(), Path(folder) / "a.safetensors")
        return [path.read_bytes()]


@st.composite
def _scores(draw: st.DrawFn) -> bytes:
    """Draw an ANSM file with an attack score some of whose coefficients are replaced."""
    content = weights()[0]
    length = struct.unpack("<Q", content[:8])[0]
    entries = dict(json.loads(content[8 : 8 + length])["__metadata__"])
    whole = AttackScore(weights=(1.0,) * len(FEATURES), bias=0.0).as_dict()
    odd = JSON | st.integers(10**308, 10**320)
    whole |= draw(st.dictionaries(st.sampled_from([*whole, "unknown"]), odd, max_size=2))
    if isinstance(whole["weights"], dict):
        fields = st.sampled_from([*FEATURES, "unknown"])
        whole["weights"] |= draw(st.dictionaries(fields, odd, max_size=2))
    text = json.dumps(whole)
    return save(load(content), {**entries, "attack_score": draw(st.just(text) | _entry("", ""))})


def check_score(folder: Path, content: bytes) -> None:
    """An attack score judges by finite numbers, or is refused."""
    path = folder / "a.safetensors"
    path.write_bytes(content)
    try:
        found = AnsmFile.read(path).score
    except WeightsError:
        return
    assert found is not None
    assert np.isfinite([*found.weights, found.bias]).all()


@functools.cache
def _same_localizer() -> nn.Module:
    return localizer()


@st.composite
def _adapter_metadata(draw: st.DrawFn) -> bytes:
    """Draw an adapter with entries of the metadata replaced; its tensors are sound."""
    content = _adapters()[0]
    length = struct.unpack("<Q", content[:8])[0]
    entries = dict(json.loads(content[8 : 8 + length])["__metadata__"])
    for name in draw(st.lists(st.sampled_from([*entries]), min_size=1, max_size=3, unique=True)):
        entries[name] = draw(_entry(name, ""))
    return save(load(content), entries)


def check_adapter(folder: Path, content: bytes) -> None:
    """An adapter is applied whole, or refused; the localizer is untouched either way."""
    path = folder / "adapter.safetensors"
    path.write_bytes(content)
    before = fingerprint(_same_localizer())
    try:
        tuned = apply_adapter(_same_localizer(), path)
    except WeightsError:
        pass
    else:
        assert bool((tuned[1].weight == 1).all())
    assert fingerprint(_same_localizer()) == before
    assert main(["info", str(path)]) in (0, 2)


HUNTS = [
    Hunt("safetensors, damaged", damaged(weights), check_weights),
    Hunt("safetensors, headers", headers(), check_weights),
    Hunt("safetensors, metadata", metadata(), check_weights),
    Hunt("adapters, damaged", damaged(_adapters), check_adapter),
    Hunt("adapters, metadata", _adapter_metadata(), check_adapter),
    Hunt("attack scores", _scores(), check_score),
]
