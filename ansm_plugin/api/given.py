"""Images with masks from wherever the user has them, as batches: the one way in for every call."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch

from ansm_plugin.api.arrays import Array, batch_of, is_array
from ansm_plugin.backbones.reference import crops_of
from ansm_plugin.data.lists import NEGATIVE
from ansm_plugin.data.pairs import Pair
from ansm_plugin.data.samples import PIXELS_PER_BATCH, Sample, WholeImages, look
from ansm_plugin.errors import ImageError
from ansm_plugin.evaluation.material import Material, Source, read_material
from ansm_plugin.system.paths import user_path
from ansm_plugin.system.progress import Progress, silent

# Folders, lists, arrays, or what yields (image, mask): see `samples_of`.
Images = Array | str | Path | Source | Iterable[Any] | None
Masks = Array | str | Path | None
_KEYS = ("image", "mask")


class _Item(NamedTuple):
    """One image or one batch with its masks, and names where there are any."""

    image: object
    mask: object
    names: tuple[str, ...] | None = None


def material_of(
    images: Images,
    masks: Masks,
    validation: int,
    *,
    authentic: bool = False,
    progress: Progress = silent,
) -> Material:
    """Return images to score, and others to tune baselines on.

    Args:
        images: as in `samples_of`.
        masks: as in `samples_of`.
        validation: how many images to tune on; where the images are no folder and no list,
            forgeries of the built-in photographs are made for that.
        authentic: whether crops that nobody forged stand beside forgeries that are made.
        progress: called with the name of a phase, such as "read images" or "forging crops", its
            finished and all parts, and no logs.

    Raises:
        AnsmError: as `samples_of` raises it.
    """
    source = source_of(images, masks)
    if source is not None:
        return read_material(source, validation, authentic=authentic, progress=progress)
    tuned_on = Source(count=validation)
    to_tune = read_material(tuned_on, 0, progress=progress).scored if validation else []
    return Material(samples_of(images, masks, progress=progress), to_tune)


def suited(model: object, images: Images, masks: Masks) -> tuple[Images, Masks]:
    """Return images and masks such that forgeries that are made suit a localizer given by name."""
    source = source_of(images, masks)
    if source is None or source.crops is not None or not isinstance(model, str):
        return images, masks
    return replace(source, crops=crops_of(model.partition("+")[0])), None


def samples_of(
    images: Images, masks: Masks = None, progress: Progress = silent
) -> Sequence[Sample]:
    """Return batches of images with their masks.

    Args:
        images: one of

            - a folder, with `masks` another one; alone, photographs that forgeries are made of;
            - the path of a list `[[image, mask], ...]`, or a `Source` with more choices;
            - a tensor, an array or a picture, with `masks` another one: see `batch_of`;
            - a DataLoader, a dataset or a list that yields (image, mask), or dicts with `image`,
              `mask` and, if there are any, `name`: arrays, whole batches of them, or files. It is
              gone through once and kept in memory, 16 bytes a pixel; files are read when needed.
              Batches that are `Sample` are taken as they are;
            - None: forgeries of the built-in test photographs.
        masks: what belongs to images that hold none themselves.
        progress: called with the name of a phase, such as "read images" or "forging crops", its
            finished and all parts, and no logs.

    Raises:
        ImageError: something else was given, or images and masks do not fit; which, is said.
    """
    source = source_of(images, masks)
    if source is not None:
        return read_material(source, 0, progress=progress).scored
    items = items_of(images, masks, progress)
    if isinstance(items[0], Pair):
        return WholeImages([], seen=look(cast(list[Pair], items), progress))
    return cast(Sequence[Sample], items)


def items_of(
    images: Images, masks: Masks, progress: Progress = silent
) -> Sequence[Pair] | Sequence[Sample]:
    """Return the files of images that are no folder and no list, or batches of what are no files.

    Raises:
        ImageError: as `samples_of` raises it.
    """
    if is_array(images):
        if masks is None:
            raise ImageError(
                "masks is missing: give one for each image, of zeros where it is authentic, or let "
                "the images yield (image, mask)."
            )
        return [batch_of(images, masks)]
    if masks is not None:
        raise ImageError(
            f"masks is {type(masks).__name__} beside images of {type(images).__name__}; give "
            "folders or arrays for both, or let the images yield (image, mask)."
        )
    given = list(_iterated(images, progress))
    if not given:
        raise ImageError("images yields nothing; give at least one pair (image, mask).")
    if all(isinstance(one, Sample) for one in given):
        return cast(list[Sample], given)
    items = [_item(one) for one in given]
    if any(_is_file(item.image) for item in items):
        return [_pair(item) for item in items]
    return list(_batches(items))


def source_of(images: Images, masks: Masks) -> Source | None:
    """Return where files come from; None where the images are no folder, list or source.

    Raises:
        ImageError: images in files, and masks that are not.
    """
    if isinstance(images, Source):
        return images
    if images is None and masks is None:
        return Source()
    if not isinstance(images, str | Path):
        return None
    if masks is not None and not isinstance(masks, str | Path):
        raise ImageError(
            f"images is the path {images} and masks {type(masks).__name__}; give the folder of the "
            "masks."
        )
    folder = None if masks is None else user_path(str(masks))
    return Source(user_path(str(images)), folder)


def _iterated(images: object, progress: Progress) -> Iterator[object]:
    total = len(images) if isinstance(images, Sized) else 0
    for number, one in enumerate(_iterable(images), start=1):
        yield one
        progress("read images", number, max(number, total), {})


def _iterable(images: object) -> Iterable[object]:
    if isinstance(images, Iterable):
        return images
    if isinstance(images, Sized) and hasattr(images, "__getitem__"):  # a dataset of torch
        return (images[index] for index in range(len(images)))
    raise ImageError(
        f"images is {type(images).__name__}; allowed: a folder, a list of pairs, a tensor or an "
        "array with its masks, or what yields (image, mask), such as a DataLoader."
    )


def _item(one: object) -> _Item:
    """Return image, mask and names of what a loader yields."""
    if isinstance(one, Mapping):
        if missing := [key for key in _KEYS if key not in one]:
            raise ImageError(
                f"images yields a dict with {', '.join(map(str, one))} and without "
                f"{', '.join(missing)}; allowed: dicts with image and mask."
            )
        return _Item(one["image"], one["mask"], _names(one.get("name")))
    if isinstance(one, tuple | list) and len(one) >= 2:
        return _Item(one[0], one[1])
    raise ImageError(
        f"images yields {type(one).__name__}; allowed: (image, mask), or dicts with both."
    )


def _names(given: object) -> tuple[str, ...] | None:
    if given is None or isinstance(given, str):
        return None if given is None else (given,)
    return tuple(map(str, given)) if isinstance(given, Iterable) else (str(given),)


def _is_file(image: object) -> bool:
    return isinstance(image, str | Path)


def _pair(item: _Item) -> Pair:
    """Return the files of an item; every one must be of files then."""
    image, mask = item.image, item.mask
    if isinstance(image, str | Path) and (mask is None or isinstance(mask, str | Path)):
        no_mask = mask is None or str(mask) == NEGATIVE
        return Pair(user_path(str(image)), None if no_mask else user_path(str(mask)))
    raise ImageError(
        f"images yields ({type(image).__name__}, {type(mask).__name__}) beside files; give files "
        "for all, with None for the mask of an authentic image, or arrays for all."
    )


def _batches(items: Sequence[_Item]) -> Iterator[Sample]:
    """Yield batches as they are, and single images of one size together."""
    count = 0
    waiting: list[Sample] = []
    for item in items:
        batch = batch_of(item.image, item.mask, item.names)
        if item.names is None:
            names = tuple(f"image {count + i}" for i in range(1, len(batch.images) + 1))
            batch = batch._replace(names=names)
        count += len(batch.images)
        if waiting and not _fits(waiting, batch):
            yield _joined(waiting)
            waiting = []
        waiting.append(batch)
    yield _joined(waiting)


def _fits(waiting: Sequence[Sample], batch: Sample) -> bool:
    """Return whether one more single image of the same size has room."""
    height, width = batch.images.shape[-2:]
    room = max(1, PIXELS_PER_BATCH // (height * width))
    alone = all(len(one.images) == 1 for one in (*waiting, batch))
    return alone and waiting[0].images.shape == batch.images.shape and len(waiting) < room


def _joined(parts: Sequence[Sample]) -> Sample:
    if len(parts) == 1:
        return parts[0]
    return Sample(
        torch.cat([part.images for part in parts]),
        torch.cat([part.masks for part in parts]),
        tuple(name for part in parts for name in part.names),
    )
