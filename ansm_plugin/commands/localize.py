"""`ansm localize`: mask and overlay of the user's photographs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from torch import nn

from ansm_plugin.ansm import Precision
from ansm_plugin.commands.models import load_defended, load_localizer, warn_if_untrained
from ansm_plugin.commands.progress import progress
from ansm_plugin.data import list_images, read_image
from ansm_plugin.errors import AnsmError, ConfigError, ImageError
from ansm_plugin.files import make_folder
from ansm_plugin.localize import localize_image, overlay, save_png
from ansm_plugin.localizer import LocalizerSpec, describe
from ansm_plugin.text import one_line, say
from ansm_plugin.tiles import OVERLAP


def run(
    *,
    photos: Sequence[Path],
    output: Path,
    localizer: str | None,
    ansm: Path | None,
    ansm_precision: Precision,
    bare: bool,
    tile: int,
) -> None:
    """Localize each photograph; one that fails does not lose the others.

    Raises:
        AnsmError: nothing can be done at all, or some photographs failed (they are named).
    """
    if tile < 2 * OVERLAP:
        raise ConfigError(f"--tile is {tile}; it must be {2 * OVERLAP} or more.")
    files = expand(photos)
    require_separate_outputs(files, output)
    model, spec = _model(localizer, ansm, ansm_precision, bare=bare)
    make_folder(output)
    failures: list[str] = []
    with progress(Console(stderr=True)) as report:
        for done, file in enumerate(files, start=1):
            try:
                share = localize_file(file, output, model, spec, tile=tile)
                target = one_line(mask_path(file, output))
                say(f"{one_line(file)}: {share:.1%} tampered -> {target}")
            except (AnsmError, OSError, MemoryError) as error:
                failures.append(f"{one_line(file)}: {error or type(error).__name__}")
            if len(files) > 1:
                report("photographs", done, len(files), {})
    if failures:
        raise ImageError(
            f"{len(failures)} of {len(files)} photographs failed:\n  " + "\n  ".join(failures)
        )


def localize_file(
    file: Path, output: Path, model: nn.Module, spec: LocalizerSpec, *, tile: int
) -> float:
    """Write mask and overlay of one photograph; return the share of tampered pixels."""
    pixels = read_image(file)
    mask = localize_image(model, spec, pixels, tile=tile) > 0.5
    save_png(mask_path(file, output), mask.astype(np.uint8) * np.uint8(255))
    save_png(_overlay_path(file, output), overlay(pixels, mask))
    return float(mask.mean())


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


def _model(
    localizer: str | None, ansm: Path | None, precision: Precision, *, bare: bool
) -> tuple[nn.Module, LocalizerSpec]:
    if bare and ansm is not None:
        raise ConfigError("--bare and --ansm were both given; choose one.")
    if bare and precision != "fp32":
        raise ConfigError("--bare and --ansm-precision were both given; choose one.")
    if not bare:
        defended = load_defended(localizer, ansm, precision=precision)
        warn_if_untrained(defended.ansm)
        return defended, defended.spec
    print("bare localizer: no defence against adversarial noise is used")
    model = load_localizer(localizer)
    return model, describe(model)
