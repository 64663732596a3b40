"""The attack score inside the file of an ANSM: metadata `attack_score`, JSON."""

from __future__ import annotations

import json
from pathlib import Path

from ansm_plugin.attack_score import AttackScore
from ansm_plugin.metadata import read_json
from ansm_plugin.weights import read_ansm_metadata, read_tensors, write_tensors

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
