"""One photograph after the other becomes a mask and an overlay, as files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from torch import nn

from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.data.listing import LeftOut, Listing, list_folder, require_images
from ansm_plugin.data.paint import overlay, save_png
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.read import read_image
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import AnsmError, ConfigError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.photograph import Probabilities, localize_image, localize_scored
from ansm_plugin.system.files import make_folder
from ansm_plugin.system.text import one_line, say


class Found(NamedTuple):
    """What is said of one photograph; without an attack score the last three are None.

    Attributes:
        photograph: its file.
        tampered: share of its pixels.
        attack_score: above 0 it looks attacked.
        gated: whether the mask is that of the bare localizer, as nothing looked wrong.
        undecided: whether the score is above the threshold of --abstain.
    """

    photograph: str
    tampered: float
    attack_score: float | None = None
    gated: bool | None = None
    undecided: bool | None = None

    @property
    def line(self) -> str:
        """Return one line to print."""
        score = "" if self.attack_score is None else f", attack score {self.attack_score:+.1f}"
        gated = ", bare mask" if self.gated else ""
        undecided = ", UNDECIDED: it looks attacked" if self.undecided else ""
        return f"{one_line(self.photograph)}: {self.tampered:.1%} tampered{score}{gated}{undecided}"


Localize = Callable[[Pixels], tuple[Probabilities, Found]]


class Photo(NamedTuple):
    """A photograph, and where its results go.

    Attributes:
        file: the photograph.
        name: its path below the folder that was named, or the file's name; its stem begins the
            names of the results.
    """

    file: Path
    name: Path


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


def localize_file(photo: Photo, output: Path, localize: Localize) -> Found:
    """Write mask and overlay of one photograph; return what is said of it.

    Raises:
        AnsmError: the photograph cannot be read or localized.
        OSError: a result cannot be written.
    """
    pixels = read_image(photo.file)
    probabilities, found = localize(pixels)
    mask = probabilities > 0.5
    make_folder(mask_path(photo, output).parent)
    save_png(mask_path(photo, output), mask.astype(np.uint8) * np.uint8(255))
    save_png(_overlay_path(photo, output), overlay(pixels, mask))
    return found._replace(photograph=str(photo.file), tampered=float(mask.mean()))


def expand(photos: Sequence[Path], *, recursive: bool, output: Path) -> Photos:
    """Replace folders by the images in them; what else is in them is not passed over.

    Raises:
        ImageError: a folder cannot be opened, or has no image.
    """
    found = Photos([], [], [])
    for photo in photos:
        if not photo.is_dir():
            found.used.append(Photo(photo, Path(photo.name)))
            continue
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
        first = writers.setdefault(mask_path(photo, output), photo)
        if first is not photo:
            raise ConfigError(
                f"{first.file} and {photo.file} would both write {mask_path(photo, output)}; "
                "localize them with separate --output folders."
            )
    inputs = {photo.file.resolve() for photo in photos}
    for target in [p(f, output) for f in photos for p in (mask_path, _overlay_path)]:
        if target.resolve() in inputs:
            raise ConfigError(
                f"the result {target} would replace a photograph; choose another --output."
            )


def mask_path(photo: Photo, output: Path) -> Path:
    """Return where the mask of a photograph goes."""
    return output / photo.name.with_name(f"{photo.name.stem}-mask.png")


def _overlay_path(photo: Photo, output: Path) -> Path:
    return output / photo.name.with_name(f"{photo.name.stem}-overlay.png")


def localizing(
    model: nn.Module, spec: LocalizerSpec, tile: int, *, gate: bool, abstain: float | None
) -> Localize:
    """Return how one photograph is localized: with an attack score where something needs it.

    Args:
        model: a localizer, bare or defended.
        spec: how it is called.
        tile: longest side in pixels that is worked on at once.
        gate: whether the bare mask is kept where the score is not above 0.
        abstain: score above which a photograph is undecided; None decides every one.

    Raises:
        AnsmError: a score is needed and the ANSM was not calibrated.
    """
    if not isinstance(model, DefendedLocalizer) or not (gate or abstain is not None):
        return lambda pixels: (localize_image(model, spec, pixels, tile=tile), Found("", 0.0))
    model.require_score()  # now, not once for every photograph

    def scored(pixels: Pixels) -> tuple[Probabilities, Found]:
        bare, defended, score = localize_scored(model, pixels, tile=tile)
        gated = gate and score <= 0
        undecided = abstain is not None and score > abstain
        return bare if gated else defended, Found("", 0.0, score, gated, undecided)

    return scored


def localize_each(
    photos: Sequence[Photo], output: Path, localize: Localize
) -> tuple[list[Found], list[LeftOut]]:
    """Localize each photograph and say so; return what was found, and what is said of failures."""
    found: list[Found] = []
    failures: list[LeftOut] = []
    with show_progress(Console(stderr=True)) as progress:
        for done, photo in enumerate(photos, start=1):
            try:
                found.append(localize_file(photo, output, localize))
                say(f"{found[-1].line} -> {one_line(mask_path(photo, output))}")
            except (AnsmError, OSError, MemoryError) as error:
                reason = str(error) or type(error).__name__
                failures.append({"file": str(photo.file), "reason": reason})
            if len(photos) > 1:
                progress("photographs", done, len(photos), {})
    return found, failures
