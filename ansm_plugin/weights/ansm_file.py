"""A file of an ANSM: its weights, its attack score and where it comes from; no code is ever run.

Layout of NAME.safetensors: the tensors of the ANSM alone, and metadata strings `format`,
`format_version`, `architecture`, `stage`, `localizer`, `normalisation`, `recipe`, `metrics`,
`parent`, and `attack_score` once calibrated; all but the first two and `stage` are JSON.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, architecture
from ansm_plugin.attack_score import AttackScore
from ansm_plugin.errors import LocalizerError, WeightsError
from ansm_plugin.localizer.families import inner
from ansm_plugin.localizer.modes import dtype_of
from ansm_plugin.localizer.traits import fingerprint, fingerprints
from ansm_plugin.system.device import find_device
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.identity import identify as identify  # its home of 0.1
from ansm_plugin.weights.metadata import read_architecture, read_json
from ansm_plugin.weights.tensors import (
    load_strictly,
    read_file,
    read_metadata,
    require_fit,
    write_tensors,
)

FORMAT = "ansm"
FORMAT_VERSION = 1
_SCORE = "attack_score"
_TABLES = ("localizer", "normalisation", "recipe", "metrics")
_HALVES = (torch.float16, torch.bfloat16)
_KNOWN = {"format", "format_version", "architecture", "stage", *_TABLES, "parent", _SCORE}


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where an ANSM comes from.

    Attributes:
        stage: recipe that wrote the weights, or "untrained".
        localizer: family, class and sha256 of the state of the localizer it was trained for, and
            under `also` the sha256 of further ones, separated by spaces.
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

    def as_metadata(self) -> dict[str, str]:
        """Return the metadata strings of a file; what JSON does not know becomes its `str`."""
        keys = (*_TABLES, "parent")
        return {"stage": self.stage} | {
            key: json.dumps(getattr(self, key), default=str) for key in keys
        }

    @staticmethod
    def from_metadata(metadata: Mapping[str, str], path: str | Path) -> Provenance:
        """Return what `as_metadata` gave; what the metadata do not say is empty.

        Args:
            metadata: of the file.
            path: names the file in messages.

        Raises:
            WeightsError: an entry is damaged.
        """
        tables = {key: _table(metadata, key, path) for key in _TABLES}
        parent = read_json(metadata, "parent", path)
        return Provenance(stage=metadata.get("stage", ""), parent=str(parent or ""), **tables)


@dataclass(frozen=True, kw_only=True, eq=False)
class AnsmFile:
    """What a file of an ANSM holds.

    Attributes:
        ansm: the module.
        provenance: where it comes from.
        score: coefficients of its attack score; None where it was not calibrated.
        path: the file that it was read from, as it was given; "" where it was not read.
        dtypes: of tensors that are written in another dtype than the module has: a file in half
            precision stays one.
        others: further metadata strings, which are written as they are.
    """

    ansm: ANSM
    provenance: Provenance = field(default_factory=Provenance)
    score: AttackScore | None = None
    path: str | Path = ""
    dtypes: Mapping[str, torch.dtype] = field(default_factory=dict)
    others: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: str | Path, *, into: str | nn.Module | None = None) -> AnsmFile:
        """Read a file, which is opened once; the module is on the CPU and in eval mode.

        Args:
            path: the safetensors file.
            into: as in `load_ansm`.

        Raises:
            WeightsError: a pickle, a truncated or foreign file, a newer format, another
                architecture, or damaged metadata.
            ConfigError: the preset is unknown.
        """
        metadata, tensors = read_file(path)
        ansm = _module(metadata, tensors, path, into)
        return cls(
            ansm=ansm,
            provenance=Provenance.from_metadata(metadata, path),
            score=_score(metadata, path),
            path=path,
            dtypes={name: tensor.dtype for name, tensor in tensors.items()},
            others={key: text for key, text in metadata.items() if key not in _KNOWN},
        )

    def write(self, path: str | Path) -> Path:
        """Write all of it; the file appears whole or not at all.

        Raises:
            WeightsError: the folder cannot be written, or the disk is full.
        """
        metadata = {
            **self.others,
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "architecture": json.dumps(self.ansm.architecture.as_dict()),
            **self.provenance.as_metadata(),
        }
        if self.score is not None:
            metadata[_SCORE] = json.dumps(self.score.as_dict())
        state = self.ansm.state_dict()
        tensors = {
            name: value.to(self.dtypes.get(name, value.dtype)) for name, value in state.items()
        }
        return write_tensors(tensors, path, metadata)

    def is_for(self, state: str) -> bool:
        """Return whether the ANSM was trained for a localizer, or does not say for which.

        Args:
            state: what `fingerprint` gives of the localizer.
        """
        trained_for = self.provenance.localizer
        expected = str(trained_for.get("sha256") or "")
        return not expected or state in (expected, *str(trained_for.get("also", "")).split())

    def warn_unless_for(self, localizer: nn.Module) -> None:
        """Warn the caller's caller when it was trained for another localizer, naming both."""
        trained_for = self.provenance.localizer
        known, expected = one_line(trained_for.get("class")), str(trained_for.get("sha256") or "")
        if not expected:
            return
        try:
            if any(self.is_for(state) for state in fingerprints(localizer)):
                return
            given = f"with state {fingerprint(localizer)[:12]}"
        except LocalizerError as error:
            given = f"with a state that cannot be told: {str(error).rstrip('.')}"
        dtype = dtype_of(localizer)
        rounded = f", in {dtype}, which rounds it" if dtype in _HALVES else ""
        warnings.warn(
            f"{self.path} was trained for {known} with state {one_line(expected[:12])}; the "
            f"localizer given is {type(inner(localizer)).__name__} {given}{rounded}. "
            "The defence may not work: train an ANSM for this localizer.",
            stacklevel=3,
        )


def save_ansm(ansm: ANSM, path: str | Path, provenance: Provenance | None = None) -> Path:
    """Write an ANSM and its provenance; the file appears whole or not at all.

    Raises:
        WeightsError: the folder cannot be written, or the disk is full.
    """
    return AnsmFile(ansm=ansm, provenance=provenance or Provenance()).write(path)


def load_ansm(
    path: str | Path,
    *,
    into: str | nn.Module | None = None,
    device: str | torch.device | None = None,
) -> ANSM:
    """Read an ANSM written by `save_ansm`, in eval mode.

    Its provenance and its score are not looked at: `AnsmFile.read` gives them too.

    Args:
        path: the safetensors file.
        into: a preset name or an ANSM that must have the architecture of the file; an ANSM is
            filled in place. None takes what the file says.
        device: where it goes; None is the CPU, or where `into` is.

    Raises:
        WeightsError: a pickle, a truncated or foreign file, a newer format, another architecture.
        ConfigError: the preset is unknown, or there is no such device.
    """
    place = None if device is None else find_device(device)
    ansm = _module(*read_file(path), path, into)
    return ansm if place is None else ansm.to(place)


def read_provenance(path: str | Path) -> Provenance:
    """Return where the ANSM in a file comes from; its tensors are not read.

    Raises:
        WeightsError: as in `AnsmFile.read`.
    """
    metadata = read_metadata(path)
    _require_format(metadata, path)
    return Provenance.from_metadata(metadata, path)


def _module(
    metadata: Mapping[str, str],
    tensors: Mapping[str, Tensor],
    path: str | Path,
    into: str | nn.Module | None,
) -> ANSM:
    _require_format(metadata, path)
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
    if not isinstance(into, ANSM):
        with torch.device("meta"):  # a file whose tensors do not fit costs no memory
            require_fit(ANSM(held), tensors, str(path))
    ansm = into if isinstance(into, ANSM) else ANSM(held)
    load_strictly(ansm, tensors, str(path))
    return ansm.eval()


def _require_format(metadata: Mapping[str, str], path: str | Path) -> None:
    """Raise WeightsError unless the metadata are those of an ANSM, and of no newer release."""
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


def _score(metadata: Mapping[str, str], path: str | Path) -> AttackScore | None:
    if _SCORE not in metadata:
        return None
    return AttackScore.from_dict(read_json(metadata, _SCORE, path), path)


def _table(metadata: Mapping[str, str], key: str, path: str | Path) -> dict[str, Any]:
    """Return an entry of the metadata that must be a table."""
    found = read_json(metadata, key, path)
    if isinstance(found, dict):
        return found
    if key == "localizer":
        raise WeightsError(f"{path} does not say which localizer it was trained for.")
    raise WeightsError(
        f"the entry {key!r} of {path} is {type(found).__name__}, no table; the file is damaged or "
        "was not written by ansm_plugin."
    )
