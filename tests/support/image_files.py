"""Small images and masks in files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ansm_plugin.data.pixels import Mask, Pixels


def photograph(height: int = 40, width: int = 50, seed: int = 0) -> Pixels:
    """Return smooth random pixels."""
    small = np.random.default_rng(seed).integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def saved(path: Path, pixels: Pixels | Mask, **options: object) -> Path:
    """Save pixels and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def square(height: int = 40, width: int = 50, level: int = 255) -> Mask:
    """Return a mask with a square of `level`."""
    mask = np.zeros((height, width), np.uint8)
    mask[8:24, 10:30] = level
    return mask


def pairs_in(folder: Path, names: str, masks: str) -> tuple[Path, Path]:
    """Write images and masks named by the words given; return both folders."""
    for name in names.split():
        saved(folder / "images" / f"{name}.jpg", photograph())
    for name in masks.split():
        saved(folder / "masks" / f"{name}.png", square())
    return folder / "images", folder / "masks"
