"""The work of `localize`: photographs from wherever the user has them, and what is said of each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ansm_plugin.api.arrays import Array, is_array, pixels_of
from ansm_plugin.api.models import Device, Model, bare_or_defended
from ansm_plugin.attacks.door import require_images
from ansm_plugin.data.pairs import list_images
from ansm_plugin.data.pixels import Pixels
from ansm_plugin.data.read import read_image
from ansm_plugin.data.tiles import OVERLAP
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.photograph import Probabilities, localize_image, localize_scored
from ansm_plugin.system.paths import user_path
from ansm_plugin.system.progress import Progress

Pictures = Array | str | Path | Iterable[Any]


@dataclass(frozen=True, kw_only=True)
class Localized:
    """Where one photograph looks tampered.

    Attributes:
        name: its file, or "photograph 1" and on.
        probabilities: of tampering per pixel, `(H, W)` in [0, 1], fp32.
        bare: the same without the defence, where an attack score was asked for.
        attack_score: log-odds, above 0 where fewer than 1 in 100 images without attack are; None
            where it was not asked for.
    """

    name: str
    probabilities: Probabilities
    bare: Probabilities | None = None
    attack_score: float | None = None

    def mask(self, threshold: float = 0.5) -> NDArray[np.bool_]:
        """Return which pixels are above a threshold, `(H, W)`."""
        return self.probabilities > threshold

    def share(self, threshold: float = 0.5) -> float:
        """Return the share of the pixels above a threshold."""
        return float(self.mask(threshold).mean())


class Choice(NamedTuple):
    """How photographs are looked at: the longest side of a tile, and whether with a score."""

    tile: int
    with_score: bool


def localized(
    model: Model,
    photographs: Pictures,
    choice: Choice,
    progress: Progress,
    device: Device,
) -> list[Localized]:
    """Return where photographs look tampered: see `calls.localize`."""
    if choice.tile < 2 * OVERLAP:
        raise ConfigError(f"tile is {choice.tile}; it must be {2 * OVERLAP} or more.")
    pictures = pictures_of(photographs)
    found = []
    with bare_or_defended(model, device, defends_names=True) as (module, spec):
        for number, picture in enumerate(pictures):
            progress("photographs", number, len(pictures), {})
            found.append(_localize(module, spec, picture, choice))
        progress("photographs", len(pictures), len(pictures), {})
    return found


class Picture(NamedTuple):
    """A photograph: a file that is read when it is needed, or its pixels."""

    name: str
    held: Path | Pixels

    def pixels(self) -> Pixels:
        """Return `(H, W, 3)` uint8, upright."""
        return read_image(self.held) if isinstance(self.held, Path) else self.held


def pictures_of(photographs: object) -> list[Picture]:
    """Return photographs, folders opened and batches taken apart.

    Raises:
        ImageError: nothing that can be one, no image in a folder, or pixels out of range.
    """
    several = [photographs] if _is_one(photographs) else photographs
    if not isinstance(several, Iterable):
        raise ImageError(
            f"photographs is {type(photographs).__name__}; allowed: files, folders, arrays, "
            "tensors, pictures of PIL, or several of them."
        )
    found: list[Picture] = []
    for one in several:
        if isinstance(one, str | Path):
            path = user_path(str(one))
            files = list_images(path) if path.is_dir() else [path]
            found += [Picture(str(file), file) for file in files]
        else:
            first = len(found) + 1
            pixels = _bytes_of(one)
            found += [Picture(f"photograph {first + i}", image) for i, image in enumerate(pixels)]
    if not found:
        raise ImageError("photographs names none; give at least one.")
    return found


def _is_one(photographs: object) -> bool:
    return is_array(photographs) or isinstance(photographs, str | Path)


def _bytes_of(image: object) -> Pixels:
    """Return pixels `(B, H, W, 3)` uint8; floats are rounded to whole grey levels."""
    pixels = require_images(pixels_of(image)).mul(255).round().clamp(0, 255).byte()
    array: Pixels = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def _localize(model: nn.Module, spec: LocalizerSpec, picture: Picture, choice: Choice) -> Localized:
    """Return where a photograph looks tampered, and with a score how much it looks attacked."""
    tile = choice.tile
    if not choice.with_score:
        found = localize_image(model, spec, picture.pixels(), tile=tile)
        return Localized(name=picture.name, probabilities=found)
    if not isinstance(model, DefendedLocalizer):
        raise LocalizerError(
            "a bare localizer has no attack score; defend it with wrap_with_ansm, or leave "
            "with_score out."
        )
    model.require_score()
    bare, behind, score = localize_scored(model, picture.pixels(), tile=tile)
    gated = model.gate and score <= 0
    return Localized(
        name=picture.name,
        probabilities=bare if gated else behind,
        bare=bare,
        attack_score=score,
    )
