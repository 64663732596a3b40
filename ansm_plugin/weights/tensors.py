"""Tensors in safetensors files; nothing here ever executes a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.files import written_aside

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
    module.load_state_dict(dict(state))


def require_fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    own = module.state_dict()
    missing = sorted(own.keys() - state.keys())
    foreign = sorted(state.keys() - own.keys())
    shapes = [k for k in own.keys() & state.keys() if own[k].shape != state[k].shape]
    if missing or foreign or shapes:
        raise WeightsError(
            f"{source} does not fit {type(module).__name__}: {len(missing)} tensors missing "
            f"{missing[:3]}, {len(foreign)} unknown {foreign[:3]}, {len(shapes)} of another shape "
            f"{sorted(shapes)[:3]}."
        )


def load_localizer_weights(localizer: nn.Module, path: str | Path) -> None:
    """Load a safetensors file into a localizer, strictly; fp16 is widened to the model's dtype."""
    read_metadata(path)
    load_strictly(localizer, read_tensors(path), str(path))


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
        plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
        content = in_order(save(plain, metadata=dict(metadata)))
        with written_aside(target) as aside:
            aside.write_bytes(content)
    except (OSError, SafetensorError) as error:
        raise WeightsError(_unwritable(target, error)) from error
    except (RuntimeError, TypeError, ValueError) as error:  # sparse, on no device, without memory
        raise WeightsError(
            f"cannot write {target}: safetensors has no form for {error}."
        ) from error
    return target


def read_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata of a safetensors file, or raise WeightsError that says what it is."""
    file = Path(path)
    try:
        if not file.is_file():
            raise WeightsError(f"there is no weights file {file}; check the path.")
        with safe_open(str(file), framework="pt") as handle:
            return dict(handle.metadata() or {})
    except (SafetensorError, OSError, ValueError) as error:
        if file.suffix in _PICKLE_SUFFIXES or _looks_pickled(file):
            raise WeightsError(
                f"{file} is a pickle, which can run code when read; only safetensors are loaded. "
                f"Convert it once: ansm convert {file} {file.with_suffix('.safetensors')}"
            ) from error
        raise WeightsError(
            f"{file} cannot be read as safetensors ({error}); it is truncated or another kind of "
            "file. Copy it again or train it again."
        ) from error


def tensor_names(path: str | Path) -> set[str]:
    """Return the names of the tensors in a safetensors file.

    Raises:
        WeightsError: the file cannot be read as safetensors.
    """
    read_metadata(path)
    with safe_open(str(path), framework="pt") as handle:
        return set(handle.keys())


def read_tensors(path: str | Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Read as a whole first: to cut a file that is mapped into memory short kills the process.

    Raises:
        WeightsError: the file cannot be read as safetensors.
    """
    try:
        return dict(load(Path(path).read_bytes()))
    except (SafetensorError, OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} cannot be read as safetensors ({error}); it is truncated or another kind of "
            "file. Copy it again or train it again."
        ) from error


def _looks_pickled(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            head = stream.read(4)
    except OSError:
        return False
    return head[:1] == b"\x80" or head == b"PK\x03\x04"  # pickle protocol 2 up, or torch's zip


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
