"""Which photographs are localized, and where the results of each go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ansm_plugin.data.listing import LeftOut, Listing, list_folder, require_images
from ansm_plugin.data.read import head_of
from ansm_plugin.errors import ConfigError


class Photo(NamedTuple):
    """A photograph, and where its results go.

    Attributes:
        file: the photograph.
        name: its path below the folder that was named, or the file's name; its stem begins the
            names of the results.
    """

    file: Path
    name: Path

    def result(self, kind: str) -> Path:
        """Return the path of a result below the output folder: "mask" -> STEM-mask.png."""
        return self.name.with_name(f"{self.name.stem}-{kind}.png")


RESULTS = ("mask", "probability", "overlay")


class Photos(NamedTuple):
    """What the user named, folders opened.

    Attributes:
        used: the photographs.
        left_out: every other entry of the folders, by its whole path.
        said: one line for each folder that has such entries, with all their names.
    """

    used: list[Photo]
    left_out: list[LeftOut]
    said: list[str]


def expand(photos: Sequence[Path], *, recursive: bool, output: Path) -> Photos:
    """Replace folders by the images in them; what else is in them is not passed over.

    Raises:
        ConfigError: results would lie between the photographs of a folder.
        ImageError: a folder cannot be opened, or has no image; or nothing of it all is there.
    """
    if not any(os.path.lexists(photo) for photo in photos):
        head_of(photos[0])  # says what is wrong with it, before a folder of results is made
    found = Photos([], [], [])
    for photo in photos:
        if not photo.is_dir():
            found.used.append(Photo(photo, Path(photo.name)))
            continue
        if photo.resolve() == output.resolve():  # the next run would take masks for photographs
            raise ConfigError(
                f"{photo} is the folder of photographs and of results; name another --output, such "
                f"as {photo / 'masks'}."
            )
        listing = list_folder(photo, recursive=recursive, skip={output: "the folder of results"})
        require_images(listing)
        found.used.extend(_named(listing))
        for entry in listing.left_out:
            file = str(photo / entry["file"])
            found.left_out.append({"file": file, "reason": entry["reason"]})
        if listing.left_out:
            found.said.append(listing.said(most=len(listing.left_out)))
    return found


def _named(listing: Listing) -> list[Photo]:
    """Return the photographs of a folder; where two share a stem, suffixes stay in their names."""
    names = [file.relative_to(listing.folder) for file in listing.files]
    stems = Counter(name.with_suffix("") for name in names)
    return [
        Photo(file, name if stems[name.with_suffix("")] == 1 else Path(f"{name}{name.suffix}"))
        for file, name in zip(listing.files, names, strict=True)
    ]


def require_separate_outputs(photos: Sequence[Photo], output: Path) -> None:
    """Raise ConfigError where two photographs, or a photograph and a result, share a file."""
    writers: dict[Path, Photo] = {}
    for photo in photos:
        mask = output / photo.result("mask")
        first = writers.setdefault(mask, photo)
        if first is not photo:
            if first.file.resolve() == photo.file.resolve():
                raise ConfigError(f"{photo.file} is named twice; name it once.")
            raise ConfigError(
                f"{first.file} and {photo.file} would both write {mask}; "
                "localize them with separate --output folders."
            )
    inputs = {photo.file.resolve() for photo in photos}
    for target in [output / photo.result(kind) for photo in photos for kind in RESULTS]:
        if target.resolve() in inputs:
            raise ConfigError(
                f"the result {target} would replace a photograph; choose another --output."
            )
