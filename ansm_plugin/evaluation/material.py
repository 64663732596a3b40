"""What an evaluation measures on: images to score, and others to tune baselines on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.pairs import find_pairs, read_pair_list
from ansm_plugin.data.samples import Sample, WholeImages, crop_samples, first_size
from ansm_plugin.errors import ConfigError

CROPS = 96  # that are made where no number is given
VALIDATION = 16  # images that baselines are tuned on


class Material(NamedTuple):
    """Images to score, and others to tune baselines on."""

    scored: Sequence[Sample]
    validation: Sequence[Sample]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the first images to score; nothing is read for it."""
        return first_size(self.scored)


def read_material(
    images: Path | None, masks: Path | None, pattern: str, count: int | None, validation: int
) -> Material:
    """Return whole images with their masks, or forgeries of the photographs that are given.

    `images` may be a list of pairs, such as the dataset.json of `ansm attack`. Of pairs the last
    `validation` ones are kept apart; forgeries to tune on are made anew. Without `images` the
    photographs are the built-in ones that no packaged weights were trained on.

    Raises:
        ConfigError: too few pairs are left to score.
        AnsmError: a file or a folder cannot be used.
    """
    if images is not None and (masks is not None or images.suffix == ".json"):
        pairs = find_pairs(images, masks, pattern) if masks else read_pair_list(images)
        kept = len(pairs) - validation
        if kept < 1:
            raise ConfigError(
                f"{len(pairs)} pairs were found and {validation} of them are needed to tune the "
                "baselines; give more pairs, or --baselines none."
            )
        return Material(WholeImages(pairs[:kept][:count]), WholeImages(pairs[kept:]))
    data = replace(demo_data(count or CROPS), images=images, masks=masks, pattern=pattern)
    tuning = replace(data, count=max(1, validation), seed=data.seed + 1)
    return Material(
        crop_samples(load_crops(data)), crop_samples(load_crops(tuning)) if validation else []
    )


_SEED = 1


def demo_data(images: int) -> DataConfig:
    """Return the data of the demo: forgeries of the built-in test photographs."""
    return DataConfig(split="test", count=images, seed=_SEED)
