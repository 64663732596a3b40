"""No phase of making crops is silent: what is told of reading, forging and degrading them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.image_files import pairs_in, saved, square

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.forgeries import ForgeryConfig
from ansm_plugin.data.making import Forged, make_crops
from ansm_plugin.data.photographic import PhotographicConfig
from ansm_plugin.data.photographs import procedural
from ansm_plugin.data.pixels import Pixels

Told = list[tuple[str, int, int]]
SMALL = ForgeryConfig(size=32)


class Watch:
    """A `Progress` that remembers what it was told."""

    def __init__(self) -> None:
        self.told: Told = []

    def __call__(self, name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        """Remember one call."""
        self.told.append((name, step, steps))

    def phases(self) -> dict[str, int]:
        """Return the phases in their order, each with its parts; every one rises to its end."""
        ends: dict[str, int] = {}
        for name, step, steps in self.told:
            assert 0 < step <= steps
            assert step > ends.get(name, 0)
            ends[name] = step
        assert all(step == steps for name, step, steps in self.told if step == ends[name])
        return ends


def numbered(photographs: list[Pixels], index: int) -> Forged:
    return Forged(photographs[0][:4, :4] + np.uint8(index), np.zeros((4, 4), np.uint8), 0)


@pytest.mark.parametrize("processes", [1, 2])
def test_forging_moves_every_few_crops_and_all_are_in_order(processes: int) -> None:
    watch = Watch()
    photographs = [np.zeros((8, 8, 3), np.uint8)]
    made = make_crops(numbered, photographs, 200, least=4, processes=processes, progress=watch)
    assert made.images[:, 0, 0, 0].tolist() == list(range(200))
    assert watch.phases() == {"forging crops": 200}
    steps = [step for _, step, _ in watch.told]
    assert max(np.diff([0, *steps])) <= 8


def test_scenes_are_told_one_by_one() -> None:
    watch = Watch()
    procedural(3, seed=0, size=32, progress=watch)
    assert watch.told == [("making scenes", n, 3) for n in (1, 2, 3)]


def test_every_phase_of_photographs_is_told(tmp_path: Path) -> None:
    """Each file that is read, each label map, each crop that is forged, each that is degraded."""
    for number, scene in enumerate(procedural(3, seed=1, size=96)):
        saved(tmp_path / "i" / f"{number}.png", scene)
    saved(tmp_path / "l" / "1.png", square(96, 96))
    watch = Watch()
    config = DataConfig(
        images=tmp_path / "i",
        style="photographic",
        photographic=PhotographicConfig(size=64, labels=tmp_path / "l"),
        count=4,
        uploaded=0.5,
    )
    load_crops(config, watch)
    assert list(watch.phases().items()) == [
        ("reading photographs", 3),
        ("reading label maps", 3),
        ("forging crops", 4),
        ("degrading crops", 4),
    ]


def test_reading_pairs_is_told(tmp_path: Path) -> None:
    images, masks = pairs_in(tmp_path, "a b c", "a b c")
    watch = Watch()
    load_crops(DataConfig(images=images, masks=masks, count=6, forgeries=SMALL), watch)
    assert watch.told == [("reading photographs", n, 3) for n in (1, 2, 3)]
