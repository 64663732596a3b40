"""Lists of pairs as `ansm attack` writes them: the form of IMDLBenCo's JsonDataset.

A list is `[[image, mask], ...]` with paths relative to the folder of the list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ansm_plugin.data import Pair
from ansm_plugin.errors import ImageError
from ansm_plugin.text import one_line


def read_pair_list(path: Path) -> list[Pair]:
    """Return the pairs of a list; every file is there, and inside the folder of the list.

    Raises:
        ImageError: the list cannot be read, is none, or names a file that is missing or elsewhere.
    """
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImageError(f"cannot read the list {path}: {error}.") from error
    if not isinstance(found, list) or not found:
        raise ImageError(f"{path} is no list of pairs; write [[image, mask], ...].")
    return [_pair(entry, path) for entry in found]


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
