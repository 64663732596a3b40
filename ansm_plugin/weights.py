"""Weights as safetensors with provenance; nothing here ever executes a file.

Layout of NAME.safetensors: the tensors of the ANSM alone, and metadata strings `format`,
`format_version`, `architecture`, `stage`, `localizer`, `normalisation`, `recipe`, `metrics`,
`parent`, and `attack_score` once calibrated; all but the first two and `stage` are JSON.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, architecture
from ansm_plugin.errors import WeightsError
from ansm_plugin.files import written_aside
from ansm_plugin.localizer import LocalizerSpec, fingerprint
from ansm_plugin.metadata import in_order, read_architecture, read_json
from ansm_plugin.text import one_line

FORMAT = "ansm"
FORMAT_VERSION = 1
_PICKLE_SUFFIXES = {".pth", ".pt", ".ckpt", ".bin", ".pkl", ".tar"}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an ANSM comes from.

    Attributes:
        stage: recipe that wrote the weights, or "untrained".
        localizer: family, class and sha256 of the state of the localizer it was trained for.
        normalisation: mean, std and where they were found.
        recipe: the full config that reproduces the run.
        metrics: what was measured, by name.
        parent: sha256 of the file of the stage before, or "".
    """

    stage: str = "untrained"
    localizer: Mapping[str, str] = field(default_factory=dict)
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    parent: str = ""


def identify(localizer: nn.Module, spec: LocalizerSpec) -> dict[str, str]:
    """Return family, class and sha256 of the state of a localizer."""
    return {
        "family": spec.family,
        "class": type(localizer).__name__,
        "sha256": fingerprint(localizer),
    }


def save_ansm(ansm: ANSM, path: str | Path, provenance: Provenance | None = None) -> Path:
    """Write an ANSM and its provenance; the file appears whole or not at all.

    Raises:
        WeightsError: the folder cannot be written, or the disk is full.
    """
    origin = provenance or Provenance()
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "architecture": json.dumps(ansm.architecture.as_dict()),
        "stage": origin.stage,
        **{
            key: json.dumps(getattr(origin, key), default=str)
            for key in ("localizer", "normalisation", "recipe", "metrics", "parent")
        },
    }
    return write_tensors(ansm.state_dict(), path, metadata)


def load_ansm(path: str | Path, *, into: str | nn.Module | None = None) -> ANSM:
    """Read an ANSM written by `save_ansm`, on the CPU and in eval mode.

    Args:
        path: the safetensors file.
        into: a preset name or an ANSM that must have the architecture of the file; an ANSM is
            filled in place. None takes what the file says.

    Raises:
        WeightsError: a pickle, a truncated or foreign file, a newer format, another architecture.
    """
    metadata = read_ansm_metadata(path)
    held = read_architecture(metadata, path)
    if isinstance(into, nn.Module) and not isinstance(into, ANSM):
        raise WeightsError(
            f"{path} holds an ANSM; it cannot be loaded into a {type(into).__name__}. Load your "
            "own module's weights yourself and pass it without weights."
        )
    wanted = architecture(into) if isinstance(into, str) else into.architecture if into else held
    if wanted != held:
        raise WeightsError(
            f"{path} holds the architecture {held}; asked for was {wanted}. "
            "Leave out ansm= to take what the file says."
        )
    tensors = read_tensors(path)
    if not isinstance(into, ANSM):
        with torch.device("meta"):  # a file whose tensors do not fit costs no memory
            _require_fit(ANSM(held), tensors, str(path))
    ansm = into if isinstance(into, ANSM) else ANSM(held)
    load_strictly(ansm, tensors, str(path))
    return ansm.eval()


def read_ansm_metadata(path: str | Path) -> dict[str, str]:
    """Return the metadata strings of an ANSM file after checking its format and version."""
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        given = one_line(metadata.get("format"), most=40)
        raise WeightsError(
            f"{path} is a safetensors file, but not one of an ANSM (format "
            f"{given!r}, expected {FORMAT!r}). Localizer weights go behind the "
            "localizer's name: NAME@weights.safetensors."
        )
    version = metadata.get("format_version", "")
    if not (version.isascii() and version.isdigit() and len(version) < 9) or not (
        1 <= int(version) <= FORMAT_VERSION
    ):
        raise WeightsError(
            f"{path} has format version {one_line(version, most=20)!r}; this release reads up to "
            f"{FORMAT_VERSION}. Upgrade ansm_plugin."
        )
    return metadata


def warn_if_foreign(path: str | Path, localizer: nn.Module) -> None:
    """Warn when the ANSM in `path` was trained for another localizer, naming both."""
    trained_for = read_json(read_ansm_metadata(path), "localizer", path)
    if not isinstance(trained_for, dict):
        raise WeightsError(f"{path} does not say which localizer it was trained for.")
    expected = str(trained_for.get("sha256") or "")
    given = fingerprint(localizer)
    if expected and given not in (expected, *str(trained_for.get("also", "")).split()):
        known = one_line(trained_for.get("class"))
        warnings.warn(
            f"{path} was trained for {known} with state {one_line(expected[:12])}; the "
            f"localizer given is {type(localizer).__name__} with state {given[:12]}. "
            "The defence may not work: train an ANSM for this localizer.",
            stacklevel=3,
        )


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Load `state` into `module`.

    Raises:
        WeightsError: names or shapes differ (they are counted and named), or a parameter holds NaN
            or infinite values.
    """
    _require_fit(module, state, source)
    learned = [name for name, _ in module.named_parameters() if name in state]
    # Buffers may be infinite on purpose, as in masks of attention.
    if broken := [k for k in learned if not bool(torch.isfinite(state[k].float()).all())]:
        raise WeightsError(
            f"{source} holds NaN or infinite values in {len(broken)} tensors {broken[:3]}: it is "
            "damaged, or its training diverged. Copy it again or train it again."
        )
    module.load_state_dict(dict(state))


def _require_fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
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
