"""Lists of images and masks: the form of IMDLBenCo's JsonDataset, which `ansm attack` writes.

    [["Tp/1.png", "Gt/1.png"], ["/data/au/2.jpg", "Negative"], ...]

Paths are relative to the folder of the list. "Negative" in place of a mask says that the image is
authentic. A list that comes from elsewhere must not choose any file that its reader may open, so
paths that lead out of its folder are refused, unless the reader says that he trusts it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansm_plugin.data.pairs import Pair, each
from ansm_plugin.errors import ImageError
from ansm_plugin.system.text import one_line

NEGATIVE = "Negative"  # IMDLBenCo's word for the mask of an authentic image
_MOST_SHOWN = 80  # characters of an entry


def is_list(path: Path) -> bool:
    """Return whether a path is that of a list, by its name."""
    return path.suffix.lower() == ".json"


def read_pair_list(path: Path, *, allow_outside: bool = False) -> list[Pair]:
    """Return the pairs of a list, every file of which is there; authentic images have no mask.

    Args:
        path: the list.
        allow_outside: whether its paths may lead out of its folder, absolute ones among them. One
            that is not there below its folder is then looked for below the current folder, as
            IMDLBenCo does.

    Raises:
        ImageError: the list cannot be read, is none, or names a file that is missing or elsewhere.
    """
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"cannot read the list {path}: {error}.") from error
    if not isinstance(entries, list) or not entries:
        raise ImageError(f"{path} is no list of pairs; write [[image, mask], ...].")
    return each(entries, lambda entry, _: _pair(entry, path, allow_outside), what="entries")


def _pair(entry: Any, path: Path, allow_outside: bool) -> Pair:
    is_pair = isinstance(entry, list) and len(entry) == 2
    if not is_pair or not all(isinstance(name, str) for name in entry):
        raise ImageError(
            f"{path} has the entry {one_line(entry)[:_MOST_SHOWN]}; each must be a pair of file "
            f'names: [image, mask], or [image, "{NEGATIVE}"] for an authentic image.'
        )
    image, mask = entry
    find = _anywhere if allow_outside else _inside
    return Pair(find(image, path), None if mask == NEGATIVE else find(mask, path))


def _inside(name: str, path: Path) -> Path:
    """Return a file that a list names; one outside of the list's folder is refused."""
    file, folder = path.parent / name, path.parent.resolve()
    try:
        is_inside, is_there = file.resolve().is_relative_to(folder), file.is_file()
    except (OSError, ValueError, RuntimeError):  # too long, a null character, a loop of links
        is_inside, is_there = True, False
    if not is_inside:
        raise ImageError(
            f"{path} names {one_line(name)[:_MOST_SHOWN]}, which is outside of its folder; a list "
            "that comes from elsewhere must not choose other files. Move the list above all of its "
            "images, or pass --allow-outside (in Python allow_outside=True) for one that you trust."
        )
    if not is_there:
        raise _missing(name, path)
    return file


def _anywhere(name: str, path: Path) -> Path:
    """Return a file that a trusted list names: below its folder, or else the current one."""
    for file in (path.parent / name, Path(name)):
        try:
            if file.is_file():
                return file
        except (OSError, ValueError):  # too long, a null character
            break
    raise _missing(name, path)


def _missing(name: str, path: Path) -> ImageError:
    return ImageError(f"{path} names {one_line(name)[:_MOST_SHOWN]}, and there is no such file.")
