"""What an evaluation measures on: images to score, and others to tune baselines on."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from ansm_plugin.backbones.reference import crops_of
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.data.listing import LeftOut, list_folder
from ansm_plugin.data.lists import is_list, read_pair_list
from ansm_plugin.data.pairs import Pairing, match_folders
from ansm_plugin.data.samples import Sample, WholeImages, crop_samples, first_size, look
from ansm_plugin.evaluation.made import all_authentic, suited
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.weights.catalogue_card import MadeCrops

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


@dataclass(frozen=True)
class Source:
    """Where images come from.

    Attributes:
        images: folder of images, or a list of pairs; with `masks`, forged images; a folder alone,
            photographs that forgeries are made of. None: the built-in photographs that no packaged
            weights were trained on.
        masks: folder of masks with the same stems.
        pattern: only images whose file name matches.
        count: at most this many images; None: all pairs, or as many forgeries as
            the card of `crops` says.
        recursive: whether folders are entered; images are named by their paths below `images` then.
        allow_outside: whether the paths of a list may lead out of its folder.
        crops: style and size of forgeries that are made; None: those of the default localizer.
    """

    images: Path | None = None
    masks: Path | None = None
    pattern: str = "*"
    count: int | None = None
    recursive: bool = False
    allow_outside: bool = False
    crops: MadeCrops | None = None

    @property
    def holds_pairs(self) -> bool:
        """Whether images come with masks, by folders or by a list."""
        return self.images is not None and (self.masks is not None or is_list(self.images))

    def data(self) -> DataConfig:
        """Return the crops that are cut or forged of these images."""
        return replace(
            demo_data(self.count, self.crops),
            images=self.images,
            masks=self.masks,
            pattern=self.pattern,
            recursive=self.recursive,
            allow_outside=self.allow_outside,
        )


def read_material(
    source: Source, validation: int, *, authentic: bool = False, progress: Progress = silent
) -> Material:
    """Return whole images with their masks, or forgeries of the photographs that are given.

    Of pairs the last `validation` ones are kept apart to tune baselines on. Where no more than that
    are there, or none of the last ones is forged, all are scored, and forgeries to tune on are made
    of the built-in photographs, with a warning. Forgeries to tune on are made anew.

    Args:
        source: where the images come from.
        validation: how many images to tune on.
        authentic: whether crops that nobody forged stand beside the forgeries, see `made_samples`.
        progress: called with the name of a phase, such as "read images" or "forging crops", its
            finished and all parts, and no logs.

    Raises:
        AnsmError: a file or a folder cannot be used.
    """
    if source.holds_pairs:
        return _of_pairs(source, validation, progress)
    data = source.data()
    images = source.images
    others = list_folder(images, source.pattern, recursive=source.recursive) if images else None
    return Material(
        made_samples(data, authentic=authentic, progress=progress),
        _to_tune_on(data, validation, progress),
        others.left_out if others else (),
    )


def _of_pairs(source: Source, validation: int, progress: Progress) -> Material:
    """Return all pairs, the last ones kept apart where they are many."""
    images, masks = source.images, source.masks
    assert images is not None
    pairs, left_out = (
        match_folders(images, masks, source.pattern, recursive=source.recursive)
        if masks
        else Pairing(read_pair_list(images, allow_outside=source.allow_outside), ())
    )
    kept = max(0, len(pairs) - validation) or len(pairs)
    chosen = pairs[:kept][: source.count]
    root = images if source.recursive and masks else None
    # Together, so that all bad ones are named and nothing is said twice.
    seen = look([*chosen, *pairs[kept:]], progress)
    scored, apart = seen[: len(chosen)], seen[len(chosen) :]
    if any(one.is_forged for one in apart) or not validation:
        to_tune: Sequence[Sample] = WholeImages([one.pair for one in apart], root, seen=apart)
    else:
        _say_too_few(len(pairs), validation)
        scored = [*scored, *apart][: source.count]
        to_tune = _to_tune_on(demo_data(None, source.crops), validation, progress)
    return Material(WholeImages([one.pair for one in scored], root, seen=scored), to_tune, left_out)


def _say_too_few(pairs: int, validation: int) -> None:
    why = (
        f"{pairs} pairs are too few to keep {validation} of them apart to tune the baselines"
        if pairs <= validation
        else f"none of the last {validation} of {pairs} pairs, which would be kept apart to tune "
        "the baselines, is forged"
    )
    warnings.warn(
        f"{why}. All are scored, and baselines are tuned on {validation} forged crops of the "
        "built-in photographs; give more forged pairs, or --baselines none.",
        stacklevel=4,
    )


def _to_tune_on(data: DataConfig, count: int, progress: Progress) -> list[Sample]:
    """Return other forgeries of the same kind; none where none are needed."""
    others = replace(data, count=max(1, count), seed=data.seed + 1)
    return crop_samples(load_crops(others, progress)) if count else []


_SEED = 1
_AUTHENTIC = 4  # forged crops for each authentic one


def made_samples(data: DataConfig, *, authentic: bool, progress: Progress = silent) -> list[Sample]:
    """Return forged crops in batches, and behind them, if asked for, a quarter as many untouched.

    The forged ones, and their batches, are the same in both cases.
    """
    forged = crop_samples(load_crops(data, progress))
    if not authentic:
        return forged
    untouched = replace(
        all_authentic(data),
        count=max(1, data.count // _AUTHENTIC),
        seed=data.seed + 2,  # one above that of the crops to tune on
    )
    others = crop_samples(load_crops(untouched, progress))
    named = (tuple(f"authentic {name}" for name in sample.names) for sample in others)
    return [*forged, *(s._replace(names=names) for s, names in zip(others, named, strict=True))]


def demo_data(images: int | None = None, crops: MadeCrops | None = None) -> DataConfig:
    """Return the data of the demo: forgeries of the built-in test photographs.

    Args:
        images: how many crops; None: as many as `crops` say.
        crops: their style, size and number; None: those of the default localizer.
    """
    crops = crops or crops_of(None)
    data = DataConfig(split="test", count=crops.count if images is None else images, seed=_SEED)
    return suited(data, crops, authentic=0.0)
