"""Images and masks that belong together, by their names in two folders; `lists` has the others."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from ansm_plugin.data.listing import (
    LeftOut,
    Listing,
    list_folder,
    require_images,
    same_name,
    shortened,
)
from ansm_plugin.data.masks import Remarks
from ansm_plugin.data.pixels import Mask, Pixels
from ansm_plugin.data.read import pixels_of, read_upright
from ansm_plugin.data.turned import mask_as_turned
from ansm_plugin.errors import ImageError
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.text import one_line

_MASK_ENDINGS = ("", "_gt", "_mask")
_MOST_NAMED = 10
S = TypeVar("S")
T = TypeVar("T")


class Pair(NamedTuple):
    """An image file and its mask file; without one the image is authentic."""

    image: Path
    mask: Path | None


class Pairing(NamedTuple):
    """Images with their masks, and every other entry of their two folders."""

    pairs: list[Pair]
    left_out: tuple[LeftOut, ...]


def list_images(folder: Path, pattern: str = "*", *, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder in order of their names; other entries are a warning.

    Raises:
        ImageError: no such folder, or no image in it.
    """
    found = list_folder(folder, pattern, recursive=recursive)
    require_images(found, pattern)
    found.warn()
    return list(found.files)


def find_pairs(
    images: Path, masks: Path, pattern: str = "*", *, recursive: bool = False
) -> list[Pair]:
    """Return images with their masks, matched by stem; whatever has no partner is a warning.

    Raises:
        ImageError: a folder is missing or empty, or no stem has a partner.
    """
    return match_folders(images, masks, pattern, recursive=recursive).pairs


def match_folders(
    images: Path, masks: Path, pattern: str = "*", *, recursive: bool = False
) -> Pairing:
    """Return images with their masks, matched by stem, and what is left out; that is a warning.

    Names that differ in Unicode normalisation or in case alone match where no other does.

    Args:
        images: folder of images.
        masks: folder of masks with the same stems, or stems with `_gt` or `_mask` behind.
        pattern: which images count, by their names.
        recursive: whether folders are entered; a mask lies below its folder as its image does.

    Raises:
        ImageError: a folder is missing or empty, or no stem has a partner.
    """
    # One may lie in the other.
    mask_files = list_folder(masks, recursive=recursive, skip={images: ""})
    require_images(mask_files)
    candidates = list_folder(images, pattern, recursive=recursive, skip={masks: ""})
    require_images(candidates, pattern)
    named = _Masks(mask_files)
    pairs: list[Pair] = []
    alone: list[LeftOut] = []
    for image in candidates.files:
        found = named.of(image, _stem(image, images))
        if isinstance(found, Path):
            pairs.append(Pair(image, found))
        else:
            alone.append({"file": image.relative_to(images).as_posix(), "reason": found})
    candidates.warn()
    _require_pairs(pairs, alone, candidates, masks)
    left_out = [*candidates.left_out, *alone]
    if images.resolve() != masks.resolve():  # else they were named already
        mask_files.warn()
        left_out += [*mask_files.left_out, *_unused(mask_files, pairs, pattern)]
    return Pairing(pairs, tuple(left_out))


def _require_pairs(
    pairs: Sequence[Pair], alone: Sequence[LeftOut], candidates: Listing, masks: Path
) -> None:
    """Raise ImageError where no image has a mask; warn of those without."""
    count, images = len(candidates.files), candidates.folder
    names = [one_line(entry["file"]) for entry in alone]
    several = [one_line(entry["reason"]) for entry in alone if entry["reason"] != _NO_MASK]
    more = f" ({shortened(several)})" if several else ""
    if not pairs:
        raise ImageError(
            f"none of {count} images in {images} has a mask with its stem in {masks}; "
            f"without partner: {shortened(names)}.{more}"
        )
    if alone:
        warnings.warn(
            f"{len(alone)} of {count} images in {images} have no mask in {masks} and are "
            f"left out: {shortened(names)}{more}; an authentic one needs a mask that is black "
            "all over",
            stacklevel=3,
        )


_NO_MASK = "no mask has its stem"


def _unused(masks: Listing, pairs: Sequence[Pair], pattern: str) -> list[LeftOut]:
    """Return the masks of no image, and warn of them; a pattern leaves some out on purpose."""
    used = {pair.mask for pair in pairs}
    unused = [path for path in masks.files if path not in used] if pattern == "*" else []
    names = [path.relative_to(masks.folder).as_posix() for path in unused]
    if names:
        warnings.warn(
            f"{len(names)} of {len(masks.files)} masks in {masks.folder} belong to no image: "
            f"{shortened([one_line(name) for name in names])}",
            stacklevel=3,
        )
    return [{"file": name, "reason": "a mask of no image"} for name in names]


def _stem(path: Path, folder: Path) -> str:
    """Return the path of a file below a folder, without its suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


# How names are compared, strictest first.
_WAYS: tuple[Callable[[str], str], ...] = (str, same_name, lambda name: same_name(name).casefold())


class _Masks:
    """The masks of a folder by their stems."""

    def __init__(self, masks: Listing) -> None:
        self._by_stem: list[dict[str, list[Path]]] = [defaultdict(list) for _ in _WAYS]
        for path in masks.files:
            for way, named in zip(_WAYS, self._by_stem, strict=True):
                named[way(_stem(path, masks.folder))].append(path)

    def of(self, image: Path, stem: str) -> Path | str:
        """Return the mask of an image, or why it has none."""
        for way, named in zip(_WAYS, self._by_stem, strict=True):
            for ending in _MASK_ENDINGS:
                found = named.get(way(stem + ending), [])
                # Both may lie in one folder: an image is not its own mask, the last one is.
                if image in found:
                    found = found[-1:] if way is str and found[-1] != image else []
                if len(found) > 1:
                    several = ", ".join(path.name for path in found)
                    return f"{image.name} has several masks: {several}"
                if found:
                    return found[0]
        return _NO_MASK


def read_pair(pair: Pair, remarks: Remarks | None = None) -> tuple[Pixels, Mask]:
    """Return an image `(H, W, 3)` uint8 and its mask `(H, W)` in {0, 1}, both upright.

    Where EXIF turns one of the two alone, the mask follows the image if their sizes say so. The
    mask of an image without one is empty.

    Args:
        pair: the files.
        remarks: receives what is unusual about the mask; None warns at once.

    Raises:
        ImageError: a file cannot be read, or it is not certain which pixels are forged.
    """
    said = Remarks() if remarks is None else remarks
    image = read_upright(pair.image)
    pixels = pixels_of(image.image, pair.image)
    turned = image.orientation
    del image  # 0.5 GB at 178 megapixels
    if pair.mask is None:
        return pixels, np.zeros(pixels.shape[:2], np.uint8)
    files = (pair.image, pair.mask)
    mask = mask_as_turned(read_upright(pair.mask), turned, pixels.shape[:2], files, said)
    if remarks is None:
        said.warn()
    return pixels, mask


def each(
    items: Sequence[S],
    use: Callable[[S, Remarks], T],
    *,
    what: str = "pairs",
    phase: str = "reading photographs",
    progress: Progress = silent,
) -> list[T]:
    """Use every item, so that all that fail are named together and what is unusual is said once.

    Args:
        items: pairs or files.
        use: is handed an item, and where to note what is unusual.
        what: items are, for the message.
        phase: what `progress` is called with, beside used and all items, and no logs.
        progress: says how far it is.

    Raises:
        ImageError: some failed; the message names up to ten, and all are counted.
    """
    remarks, done = Remarks(), []
    failures: list[ImageError] = []
    for number, item in enumerate(items, start=1):
        try:
            done.append(use(item, remarks))
        except ImageError as error:
            failures.append(error)
        progress(phase, number, len(items), {})
    if len(failures) == 1:
        raise failures[0]
    if failures:
        lines = [f"\n  {one_line(error)}" for error in failures[:_MOST_NAMED]]
        more = len(failures) - len(lines)
        raise ImageError(
            f"{len(failures)} of {len(items)} {what} cannot be used:{''.join(lines)}"
            + (f"\n  and {more} more" if more else "")
            + "\nMend these files, or take them out of their folders."
        )
    remarks.warn()
    return done
