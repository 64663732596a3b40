"""Where the checkpoint of a training lies, and whose it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansm_plugin.errors import TrainingError
from ansm_plugin.system.differences import differences
from ansm_plugin.weights.metadata import read_json
from ansm_plugin.weights.tensors import read_metadata


def checkpoint_path(folder: Path, name: str) -> Path:
    """Return the file of the training `name` in its output folder."""
    return folder / f"{name}.checkpoint.safetensors"


def require_own_checkpoint(
    folder: Path, name: str, identity: dict[str, Any], *, whole: bool = False
) -> None:
    """Refuse a folder that holds the checkpoint of another run, before anything is written there.

    Args:
        folder: the output folder.
        name: of the training.
        identity: what decides the result, as `training.fit` gets it, or those entries of it that
            are known so far.
        whole: `identity` has all of the entries.

    Raises:
        TrainingError: the checkpoint says otherwise.
        WeightsError: the checkpoint cannot be read.
    """
    path = checkpoint_path(folder, name)
    if not path.exists():
        return
    found = read_json(read_metadata(path), "identity", path)
    wanted = json.loads(json.dumps(identity, default=str))
    known = {**found, **wanted} if isinstance(found, dict) and not whole else wanted
    if known != found:
        raise TrainingError(
            f"{path} belongs to another run: {differences(found, known)}. Repeat that "
            "run's command, choose another --output, or delete the checkpoint."
        )
