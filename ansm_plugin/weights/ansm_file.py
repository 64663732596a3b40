"""Weights as safetensors with provenance; nothing here ever executes a file.

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
from torch import nn

from ansm_plugin.ansm import ANSM, architecture
from ansm_plugin.attack_score import AttackScore
from ansm_plugin.errors import WeightsError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.metadata import read_architecture, read_json
from ansm_plugin.weights.tensors import (
    load_strictly,
    read_metadata,
    read_tensors,
    require_fit,
    write_tensors,
)

FORMAT = "ansm"
FORMAT_VERSION = 1


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
            require_fit(ANSM(held), tensors, str(path))
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


_KEY = "attack_score"


def save_score(score: AttackScore, source: str | Path, target: str | Path) -> Path:
    """Write a copy of an ANSM's file with the coefficients of its attack score in it.

    Args:
        score: fitted on this ANSM and its localizer.
        source: the ANSM's file.
        target: may be the same; it appears whole or not at all.

    Raises:
        WeightsError: the source is no ANSM, or the target cannot be written.
    """
    metadata = read_ansm_metadata(source) | {_KEY: json.dumps(score.as_dict())}
    return write_tensors(read_tensors(source), target, metadata)


def load_score(path: str | Path) -> AttackScore | None:
    """Return the attack score in an ANSM's file; None where it was not calibrated.

    Raises:
        WeightsError: it is damaged or of another release.
    """
    metadata = read_ansm_metadata(path)
    if _KEY not in metadata:
        return None
    return AttackScore.from_dict(read_json(metadata, _KEY, path), path)
