"""What an evaluation measures on: images to score, and others to tune baselines on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.listing import LeftOut, list_folder
from ansm_plugin.data.pairs import Pair, Pairing, match_folders, read_pair_list
from ansm_plugin.data.samples import Sample, WholeImages, crop_samples, first_size, look
from ansm_plugin.errors import ConfigError

CROPS = 96  # that are made where no number is given
VALIDATION = 16  # images that baselines are tuned on


class Material(NamedTuple):
    """Images to score, others to tune baselines on, and what was found beside them.

    Attributes:
        scored: images to score.
        validation: images to tune on.
        left_out: entries of the folders that are used for neither, and why.
    """

    scored: Sequence[Sample]
    validation: Sequence[Sample]
    left_out: tuple[LeftOut, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the first images to score; nothing is read for it."""
        return first_size(self.scored)


def read_material(
    images: Path | None,
    masks: Path | None,
    pattern: str,
    count: int | None,
    validation: int,
    *,
    recursive: bool = False,
    authentic: bool = False,
) -> Material:
    """Return whole images with their masks, or forgeries of the photographs that are given.

    `images` may be a list of pairs, such as the dataset.json of `ansm attack`. Of pairs the last
    `validation` ones are kept apart; forgeries to tune on are made anew. Without `images` the
    photographs are the built-in ones that no packaged weights were trained on. With `recursive`
    folders are entered, and images named by their paths below `images`. With `authentic` crops
    that nobody forged stand beside the forgeries, see `made_samples`.

    Raises:
        ConfigError: too few pairs are left to score.
        AnsmError: a file or a folder cannot be used.
    """
    if images is not None and (masks is not None or images.suffix == ".json"):
        pairs, left_out = (
            match_folders(images, masks, pattern, recursive=recursive)
            if masks
            else Pairing(read_pair_list(images), ())
        )
        kept = len(pairs) - validation
        if kept < 1:
            raise ConfigError(
                f"{len(pairs)} pairs were found and {validation} of them are needed to tune the "
                "baselines; give more pairs, or --baselines none."
            )
        root = images if recursive and masks else None
        return _whole(pairs[:kept][:count], pairs[kept:], root)._replace(left_out=left_out)
    data = replace(demo_data(count or CROPS), images=images, masks=masks, pattern=pattern)
    data = replace(data, recursive=recursive)
    tuning = replace(data, count=max(1, validation), seed=data.seed + 1)
    others = list_folder(images, pattern, recursive=recursive).left_out if images else ()
    return Material(
        made_samples(data, authentic=authentic),
        crop_samples(load_crops(tuning)) if validation else [],
        others,
    )


def _whole(scored: Sequence[Pair], validation: Sequence[Pair], root: Path | None) -> Material:
    """Look at all pairs together, so that all bad ones are named and nothing is said twice."""
    seen = look([*scored, *validation])
    return Material(
        WholeImages(scored, root, seen=seen[: len(scored)]),
        WholeImages(validation, root, seen=seen[len(scored) :]),
    )


_SEED = 1
_AUTHENTIC = 4  # forged crops for each authentic one


def made_samples(data: DataConfig, *, authentic: bool) -> list[Sample]:
    """Return forged crops in batches, and behind them, if asked for, a quarter as many untouched.

    The forged ones, and their batches, are the same in both cases.
    """
    forged = crop_samples(load_crops(data))
    if not authentic:
        return forged
    untouched = replace(
        data,
        count=max(1, data.count // _AUTHENTIC),
        seed=data.seed + 2,  # one above that of the crops to tune on
        forgeries=replace(data.forgeries, authentic=1.0),
    )
    others = crop_samples(load_crops(untouched))
    named = (tuple(f"authentic {name}" for name in sample.names) for sample in others)
    return [*forged, *(s._replace(names=names) for s, names in zip(others, named, strict=True))]


def demo_data(images: int) -> DataConfig:
    """Return the data of the demo: forgeries of the built-in test photographs."""
    return DataConfig(split="test", count=images, seed=_SEED)
