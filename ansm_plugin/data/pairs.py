"""Images and masks that belong together: by their names in two folders, or by a list.

A list is the form of IMDLBenCo's JsonDataset, as `ansm attack` writes it: `[[image, mask], ...]`
with paths relative to the folder of the list.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from ansm_plugin.data.pixels import Mask, Pixels
from ansm_plugin.data.read import SUFFIXES, read_image, read_mask
from ansm_plugin.errors import ImageError
from ansm_plugin.system.text import one_line

_MASK_ENDINGS = ("", "_gt", "_mask")


class Pair(NamedTuple):
    """An image file and its mask file."""

    image: Path
    mask: Path


def list_images(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the image files of a folder in order of their names.

    Raises:
        ImageError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise ImageError(f"there is no folder {folder}; check the path.")
    try:
        files = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in SUFFIXES)
    except (ValueError, NotImplementedError, IndexError) as error:  # "", "/*", a null character
        raise ImageError(f"{pattern!r} matches no file names ({error}); write train_*.") from error
    if not files:
        raise ImageError(
            f"no image matches {pattern!r} in {folder}; allowed: {', '.join(sorted(SUFFIXES))}."
        )
    return files


def find_pairs(images: Path, masks: Path, pattern: str = "*") -> list[Pair]:
    """Return images with their masks, matched by stem; images without partner are a warning.

    Raises:
        ImageError: a folder is missing or empty, or no stem has a partner.
    """
    by_stem = {p.stem: p for p in list_images(masks)}
    candidates = list_images(images, pattern)
    pairs: list[Pair] = []
    alone: list[str] = []
    for image in candidates:
        named = (by_stem.get(image.stem + ending) for ending in _MASK_ENDINGS)
        # Both may lie in one folder: an image is not its own mask.
        mask = next((m for m in named if m is not None and m != image), None)
        if mask is None:
            alone.append(image.name)
        else:
            pairs.append(Pair(image, mask))
    if not pairs:
        raise ImageError(
            f"none of {len(candidates)} images in {images} has a mask with its stem in {masks}; "
            f"without partner: {', '.join(alone[:5])}."
        )
    if alone:
        warnings.warn(
            f"{len(alone)} of {len(candidates)} images in {images} have no mask in {masks} and are "
            f"left out: {', '.join(alone[:5])}{' ...' if len(alone) > 5 else ''}",
            stacklevel=2,
        )
    return pairs


def read_pair(pair: Pair) -> tuple[Pixels, Mask]:
    """Return an image `(H, W, 3)` uint8 and its mask `(H, W)` in {0, 1}."""
    image = read_image(pair.image)
    return image, read_mask(pair.mask, image.shape[:2])


def read_pair_list(path: Path) -> list[Pair]:
    """Return the pairs of a list; every file is there, and inside the folder of the list.

    Raises:
        ImageError: the list cannot be read, is none, or names a file that is missing or elsewhere.
    """
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"cannot read the list {path}: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise ImageError(f"{path} is no list of pairs; write [[image, mask], ...].")
    return [_pair(entry, path) for entry in entries]


def _pair(entry: Any, path: Path) -> Pair:
    is_pair = isinstance(entry, list) and len(entry) == 2
    if not is_pair or not all(isinstance(name, str) for name in entry):
        raise ImageError(
            f"{path} has the entry {one_line(entry)[:80]}; each must be a pair of file names: "
            "[image, mask]."
        )
    image, mask = (_inside(name, path) for name in entry)
    return Pair(image, mask)


def _inside(name: str, path: Path) -> Path:
    """Return a file that a list names; one outside of the list's folder is refused."""
    file, folder = path.parent / name, path.parent.resolve()
    shown = one_line(name)[:80]
    try:
        is_inside, is_there = file.resolve().is_relative_to(folder), file.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        is_inside, is_there = True, False
    if not is_inside:
        raise ImageError(
            f"{path} names {shown}, which is outside of its folder; a list that comes from "
            "elsewhere must not choose other files. Move the list above all of its images."
        )
    if not is_there:
        raise ImageError(f"{path} names {shown}, and there is no such file.")
    return file
