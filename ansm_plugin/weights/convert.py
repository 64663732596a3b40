"""A checkpoint as localizers are shipped today becomes safetensors; its code is never run."""

from __future__ import annotations

import argparse
import pickle
import struct
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.names import common_prefix
from ansm_plugin.weights.tensors import write_tensors

# Where trainers put the state of the model inside their checkpoint, most common first.
_PLACES = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "module",
    "state_dict_ema",
    "model_ema",
    "ema",
    "generator",
)
_DEEPEST = 32  # checkpoints nest two or three levels
# What torch's reader raises for damaged files, beside its refusal of code.
_DAMAGED = (
    RuntimeError, OSError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    AssertionError, ArithmeticError, MemoryError, ImportError, struct.error,
)  # fmt: skip
# Tensors may share or repeat their memory, and a zip may be compressed; more than this is a bomb.
_LARGEST_SHARE, _LARGEST_SLACK = 16, 2**26


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a checkpoint.

    Attributes:
        place: path of keys to the state inside the checkpoint; empty where it is the file itself.
        prefix: what was stripped from the start of every name.
        kept: names of the tensors that were kept, as written.
        dropped: names inside the state that hold no tensor.
        beside: names beside the state in the checkpoint, such as an optimiser's.
    """

    place: tuple[str, ...]
    prefix: str
    kept: tuple[str, ...]
    dropped: tuple[str, ...]
    beside: tuple[str, ...]


def convert_checkpoint(source: Path, target: Path, *, force: bool = False) -> Conversion:
    """Write the model's tensors of a checkpoint as safetensors.

    Only torch's tensors-only loader reads the checkpoint; a file that needs code is refused.

    Args:
        source: a file written by `torch.save`.
        target: ends in .safetensors; appears whole or not at all.
        force: replace an existing target.

    Raises:
        WeightsError: the checkpoint cannot be read without running code or holds no tensors, or
            the target exists or cannot be written.
    """
    if target.suffix != ".safetensors":
        raise WeightsError(f"the target is {target}; its name must end in .safetensors.")
    if target.exists() and not force:
        raise WeightsError(f"{target} exists; pass --force to replace it, or choose another name.")
    place, state, beside = find_state(read_tensors_only(source), source)
    named = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    prefix = common_prefix(named)
    _require_modest(sum(v.numel() * v.element_size() for v in named.values()), source)
    # write_tensors clones each tensor, so tensors that share memory may be written.
    tensors = {name.removeprefix(prefix): value for name, value in named.items()}
    metadata = {"format": "localizer", "source": source.name}
    write_tensors(tensors, target, metadata)
    return Conversion(
        place=place,
        prefix=prefix,
        kept=tuple(tensors),
        dropped=tuple(sorted(state.keys() - named.keys())),
        beside=beside,
    )


def read_tensors_only(source: Path) -> Any:
    """Return what a checkpoint holds, read by torch's tensors-only loader.

    Raises:
        WeightsError: missing, already safetensors, truncated, or in need of code.
    """
    try:
        is_there = source.is_file()
    except (OSError, ValueError):  # a name too long for any file
        is_there = False
    if not is_there:
        raise WeightsError(f"there is no checkpoint {source}; check the path.")
    if source.suffix == ".safetensors":
        raise WeightsError(f"{source} is safetensors already; use it as it is.")
    try:
        if zipfile.is_zipfile(source):  # torch makes room for what the zip claims to hold
            with zipfile.ZipFile(source) as archive:
                _require_modest(sum(entry.file_size for entry in archive.infolist()), source)
        # Trainers, IMDLBenCo's among them, keep their options beside the state: a bag of values.
        with torch.serialization.safe_globals([argparse.Namespace]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd protocols, before torch refuses them or not
            return torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise WeightsError(_refusal(source, error)) from error
    except _DAMAGED as error:
        raise WeightsError(
            f"{source} cannot be read as a torch checkpoint ({_first_line(error)}); it is "
            "truncated or another kind of file. Copy it again."
        ) from error


def find_state(
    loaded: Any, source: Path
) -> tuple[tuple[str, ...], dict[str, Any], tuple[str, ...]]:
    """Return where the model's state is, the state, and the names beside it.

    Raises:
        WeightsError: no mapping of names to tensors, here or under a usual name.
    """
    place: tuple[str, ...] = ()
    beside: list[str] = []
    current = loaded
    # Places first: beside a nested state there may be lone tensors, such as a step counter.
    while (inner := _inner_place(current, _DEEPEST - len(place))) is not None:
        beside += [str(key) for key in current if key != inner]
        current, place = current[inner], (*place, inner)
    if not _holds_tensors(current):
        outline = (
            [str(k)[:40] for k in list(current)[:8]]
            if isinstance(current, Mapping)
            else type(current).__name__
        )
        raise WeightsError(
            f"no tensors found in {source}: it holds {outline}; looked for them in the file itself "
            f"and under {', '.join(_PLACES)}."
        )
    return place, {str(k): v for k, v in current.items()}, tuple(beside)


def _inner_place(value: Any, depth: int) -> str | None:
    """Return the usual name under which a mapping holds a state, at most `depth` levels down."""
    if not isinstance(value, Mapping) or depth < 1:
        return None
    return next(
        (
            k
            for k in _PLACES
            if _holds_tensors(value.get(k)) or _inner_place(value.get(k), depth - 1)
        ),
        None,
    )


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())


def _require_modest(size: int, source: Path) -> None:
    """Refuse a checkpoint that claims many times the bytes of its file before they are made."""
    limit = _LARGEST_SHARE * source.stat().st_size + _LARGEST_SLACK
    if size > limit:
        raise WeightsError(
            f"{source} claims to hold {size:,} bytes of tensors, more than {_LARGEST_SHARE} times "
            "its size; it is damaged or made to fill the memory. Copy it again."
        )


def _refusal(source: Path, error: Exception) -> str:
    """Say why the tensors-only loader gave up: code, or bytes that are no pickle at all."""
    reason = _first_line(error)
    with source.open("rb") as stream:
        head = stream.read(2)
    if head[:1] != b"\x80" and head != b"PK":
        return f"{source} is not a torch checkpoint ({reason}); check the path."
    return (
        f"{source} needs code to be read, which could do anything; it was refused and nothing of "
        f"it was run ({reason}). Load it where you trust it and save its tensors alone: "
        "torch.save(model.state_dict(), 'tensors.pth')."
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    wanted = next((line for line in lines if "Unsupported" in line or "GLOBAL" in line), None)
    return one_line(wanted or (lines[0] if lines else type(error).__name__))[:200]
