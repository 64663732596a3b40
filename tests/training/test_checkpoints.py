"""A folder with the checkpoint of another run is refused, and the message says what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ansm_plugin.errors import TrainingError
from ansm_plugin.training.checkpoints import checkpoint_path, require_own_checkpoint
from ansm_plugin.weights.tensors import write_tensors

THERE = {
    "recipe": {"fit": {"steps": 300, "seed": 0}, "data": {"images": "a", "masks": None}},
    "localizer": [{"sha256": "12ab"}],
    "parent": "",
}


def keep(folder: Path, identity: Any) -> None:
    """Leave a checkpoint as an interrupted run does."""
    metadata = {"identity": json.dumps(identity)}
    write_tensors({"a": torch.zeros(1)}, checkpoint_path(folder, "ffa"), metadata)


def changed(name: str, value: Any) -> dict[str, Any]:
    """Return the identity with one entry changed, named by its path."""
    found = json.loads(json.dumps(THERE))
    *above, last = name.split(".")
    table = found
    for part in above:
        table = table[part]
    table[last] = value
    return found


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("recipe.fit.steps", 200, "recipe.fit.steps is 300 there and 200 now"),
        ("recipe.fit.seed", 1, "recipe.fit.seed is 0 there and 1 now"),
        ("recipe.data.masks", "m", "recipe.data.masks is not set there and m now"),
        ("recipe.data.images", None, "recipe.data.images is a there and not set now"),
        ("localizer", [{"sha256": "34cd"}], "localizer 1.sha256 is 12ab there and 34cd now"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_the_field_that_differs_is_named_with_both_values(
    name: str, value: Any, said: str, whole: bool, tmp_path: Path
) -> None:
    keep(tmp_path, THERE)
    identity = changed(name, value)
    if not whole:
        identity.pop("parent")
    with pytest.raises(TrainingError) as raised:
        require_own_checkpoint(tmp_path, "ffa", identity, whole=whole)
    assert f"belongs to another run: {said}. Repeat" in str(raised.value)


@pytest.mark.parametrize("damaged", [[], "text", 3])
def test_a_checkpoint_without_a_table_is_refused(damaged: Any, tmp_path: Path) -> None:
    keep(tmp_path, damaged)
    with pytest.raises(TrainingError, match="belongs to another run"):
        require_own_checkpoint(tmp_path, "ffa", THERE)


def test_the_own_run_goes_on(tmp_path: Path) -> None:
    keep(tmp_path, THERE)
    require_own_checkpoint(tmp_path, "ffa", THERE, whole=True)
    require_own_checkpoint(tmp_path, "ffa", {"recipe": THERE["recipe"]})
