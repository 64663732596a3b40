"""One photograph after the other becomes a mask and an overlay, as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from torch import nn

from ansm_plugin.commands.terminal import show_progress
from ansm_plugin.data.paint import overlay, save_png
from ansm_plugin.data.pairs import list_images
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.read import read_image
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import AnsmError, ConfigError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.photograph import Probabilities, localize_image, localize_scored
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


def localize_file(file: Path, output: Path, localize: Localize) -> Found:
    """Write mask and overlay of one photograph; return what is said of it.

    Raises:
        AnsmError: the photograph cannot be read or localized.
        OSError: a result cannot be written.
    """
    pixels = read_image(file)
    probabilities, found = localize(pixels)
    mask = probabilities > 0.5
    save_png(mask_path(file, output), mask.astype(np.uint8) * np.uint8(255))
    save_png(_overlay_path(file, output), overlay(pixels, mask))
    return found._replace(photograph=str(file), tampered=float(mask.mean()))


def expand(photos: Sequence[Path]) -> list[Path]:
    """Replace folders by the images in them."""
    groups = [list_images(photo) if photo.is_dir() else [photo] for photo in photos]
    return [file for group in groups for file in group]


def require_separate_outputs(files: Sequence[Path], output: Path) -> None:
    """Raise ConfigError where two photographs, or a photograph and a result, share a file."""
    writers: dict[Path, Path] = {}
    for file in files:
        first = writers.setdefault(mask_path(file, output), file)
        if first is not file:
            raise ConfigError(
                f"{first} and {file} would both write {mask_path(file, output)}; localize them "
                "with separate --output folders."
            )
    inputs = {file.resolve() for file in files}
    for target in [p(f, output) for f in files for p in (mask_path, _overlay_path)]:
        if target.resolve() in inputs:
            raise ConfigError(
                f"the result {target} would replace a photograph; choose another --output."
            )


def mask_path(file: Path, output: Path) -> Path:
    """Return where the mask of a photograph goes."""
    return output / f"{file.stem}-mask.png"


def _overlay_path(file: Path, output: Path) -> Path:
    return output / f"{file.stem}-overlay.png"


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
    files: Sequence[Path], output: Path, localize: Localize
) -> tuple[list[Found], list[str]]:
    """Localize each file and say so; return what was found, and what is said of failures."""
    found: list[Found] = []
    failures: list[str] = []
    with show_progress(Console(stderr=True)) as progress:
        for done, file in enumerate(files, start=1):
            try:
                found.append(localize_file(file, output, localize))
                say(f"{found[-1].line} -> {one_line(mask_path(file, output))}")
            except (AnsmError, OSError, MemoryError) as error:
                failures.append(f"{one_line(file)}: {error or type(error).__name__}")
            if len(files) > 1:
                progress("photographs", done, len(files), {})
    return found, failures
