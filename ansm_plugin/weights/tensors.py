"""Tensors in safetensors files; nothing here ever executes a file."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.files import written_aside
from ansm_plugin.weights.names import missing_counters

# What safetensors raises for damaged files, and for dtypes that torch does not have.
_UNREADABLE = (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError)
_EXTRA = "_extra_state"  # what torch calls it in a state dict
STRIPPED = "prefix"  # in the metadata of a converted localizer: what its names began with
_PICKLE_SUFFIXES = {".pth", ".pt", ".ckpt", ".bin", ".pkl", ".tar"}


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into `module`.

    Raises:
        WeightsError: names or shapes differ (they are counted and named), or a parameter holds NaN
            or infinite values.
    """
    require_fit(module, state, source)
    learned = [name for name, _ in module.named_parameters() if name in state]
    # Buffers may be infinite on purpose, as in masks of attention.
    if broken := [k for k in learned if not bool(torch.isfinite(state[k].float()).all())]:
        raise WeightsError(
            f"{source} holds NaN or infinite values in {len(broken)} tensors {broken[:3]}: it is "
            "damaged, or its training diverged. Copy it again or train it again."
        )
    module.load_state_dict(_extra_state(module.state_dict()) | dict(state))


def require_fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Raise WeightsError unless names and shapes of `state` are those of the module's own state."""
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys() - _extra_state(own).keys())
    foreign = sorted(state.keys() - own.keys())
    shared = own.keys() & state.keys()
    shapes = [k for k in shared if _shape(own[k]) != _shape(state[k])]
    if missing or foreign or shapes:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {len(missing)} tensors missing "
            f"{missing[:3]}, {len(foreign)} unknown {foreign[:3]}, {len(shapes)} of another shape "
            f"{sorted(shapes)[:3]}."
        )


def _extra_state(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what modules keep beside their tensors (`get_extra_state`); files may be without."""
    return {k: v for k, v in state.items() if k.rpartition(".")[2] == _EXTRA}


def _shape(value: Any) -> object:
    return getattr(value, "shape", type(value))  # quantised modules keep tuples too


def _tensors_of(state: Mapping[str, Any], target: Path) -> dict[str, Tensor]:
    """Return the tensors of a state as safetensors takes them: dense, by rows, sharing nothing."""
    others = {k: v for k, v in state.items() if not isinstance(v, Tensor)}
    if foreign := sorted(others.keys() - _extra_state(others).keys()):
        kind = type(others[foreign[0]]).__name__
        raise WeightsError(
            f"cannot write {target}: {foreign[0]} is {kind}, no tensor, as in quantised modules; "
            "write the module before it is quantised."
        )
    if others:
        warnings.warn(
            f"{target} leaves out what {len(others)} modules keep beside their tensors "
            f"{sorted(others)[:3]}: safetensors has no form for it.",
            stacklevel=3,
        )
    plain = {k: v for k, v in state.items() if k not in others}
    return {k: v.detach().cpu().contiguous().clone() for k, v in plain.items()}


def load_localizer_weights(localizer: nn.Module, path: str | Path) -> None:
    """Load a safetensors file into a localizer, strictly; fp16 is widened to the model's dtype.

    BatchNorms without their counter get one of 0, with a warning. What `ansm convert` stripped from
    the start of the names is put back where the localizer's names have it.

    Raises:
        WeightsError: the file cannot be read or does not fit.
    """
    metadata, state = read_file(path)
    own = localizer.state_dict()
    prefix = metadata.get(STRIPPED, "")
    if prefix and not own.keys() & state.keys():
        state = {prefix + name: value for name, value in state.items()}
    if counters := missing_counters(own, state):
        state.update({name: torch.zeros_like(own[name]) for name in counters})
        warnings.warn(
            f"{path} holds no num_batches_tracked of {len(counters)} BatchNorms, as torch wrote "
            "before 0.4.1; they start from 0, which changes no mask.",
            stacklevel=2,
        )
    load_strictly(localizer, state, str(path))


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file, which names it as the parent of a later stage."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_tensors(
    tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]
) -> Path:
    """Write tensors as safetensors through a temporary file that replaces `path` at the end."""
    target = Path(path)
    if "__metadata__" in tensors:  # safetensors would write a file that it cannot read
        raise WeightsError(f"cannot write {target}: no tensor can be named __metadata__.")
    try:
        content = in_order(save(_tensors_of(tensors, target), metadata=dict(metadata)))
        with written_aside(target) as aside:
            aside.write_bytes(content)
    except (OSError, SafetensorError) as error:
        raise WeightsError(_unwritable(target, error)) from error
    except (KeyError, RuntimeError, TypeError, ValueError) as error:  # sparse, on no device
        raise WeightsError(
            f"cannot write {target}: safetensors has no form for {error}."
        ) from error
    return target


def _missing(file: Path) -> str:
    """Return what is said of a path that is no file; of a folder, which weights lie in it."""
    if not file.is_dir():
        return f"there is no weights file {file}; check the path."
    inside = ", ".join(sorted(path.name for path in file.glob("*.safetensors")))
    return f"{file} is a folder; name a weights file in it ({inside or 'there is none'})."


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, or raise WeightsError that says what it is."""
    file = Path(path)
    try:
        if not file.is_file():
            raise WeightsError(_missing(file))
        with safe_open(str(file), framework="pt") as handle:
            return dict(handle.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(_unreadable(file, error, _first_bytes(file))) from error


def tensor_names(path: str | Path) -> set[str]:
    """Return the names of the tensors in a safetensors file.

    Raises:
        WeightsError: the file cannot be read as safetensors.
    """
    read_metadata(path)
    with safe_open(str(path), framework="pt") as handle:
        return set(handle.keys())


def tensor_shapes(path: str | Path) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor in a safetensors file by name; none of them is read.

    Raises:
        WeightsError: the file cannot be read as safetensors.
    """
    read_metadata(path)
    with safe_open(str(path), framework="pt") as handle:
        return {n: tuple(handle.get_slice(n).get_shape()) for n in handle.keys()}  # noqa: SIM118


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Read as a whole first: to cut a file that is mapped into memory short kills the process.

    Raises:
        WeightsError: the file cannot be read as safetensors.
    """
    try:
        return dict(load(Path(path).read_bytes()))
    except _UNREADABLE as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({error}); it is truncated or another kind of "
            "file. Copy it again or train it again."
        ) from error


def read_file(path: str | Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the metadata and the tensors of a safetensors file, opened once and read as a whole.

    Raises:
        WeightsError: missing, a pickle, truncated or another kind of file.
    """
    file, content = Path(path), b""
    try:
        if not file.is_file():
            raise WeightsError(_missing(file))
        content = file.read_bytes()
        tensors = dict(load(content))
    except _UNREADABLE as error:
        raise WeightsError(_unreadable(file, error, content[:4])) from error
    return _metadata_of(content), tensors


def _metadata_of(content: bytes) -> dict[str, str]:
    """Return the metadata in the bytes of a file that safetensors has read without complaint."""
    start = 8 + int.from_bytes(content[:8], "little")
    return dict(json.loads(content[8:start].decode()).get("__metadata__") or {})


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(4)
    except (OSError, ValueError):
        return b""


def _unreadable(path: Path, error: Exception, head: bytes) -> str:
    """Say what a file is that safetensors cannot read; `head` are its first four bytes."""
    is_zip = head == b"PK\x03\x04"  # of torch; the other mark is that of pickle protocol 2 and up
    if path.suffix in _PICKLE_SUFFIXES or is_zip or head[:1] == b"\x80":
        return (
            f"{path} is a pickle, which can run code when read; only safetensors are loaded. "
            f"Convert it once: ansm convert {path} {path.with_suffix('.safetensors')}"
        )
    return (
        f"{path} cannot be read as safetensors ({error}); it is truncated or another kind of "
        "file. Copy it again or train it again."
    )


def _unwritable(path: Path, error: Exception) -> str:
    return (
        f"cannot write {path}: {error}. Nothing was left half-written; free space or choose "
        "another folder."
    )


def in_order(content: bytes) -> bytes:
    """Return the bytes of a safetensors file with its metadata in order of their names.

    safetensors writes them in any order, but the sha256 of a file names it as the parent of another
    one: the same run must give the same bytes.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + content[start:]
