"""Images and masks from folders, as crops of one size for training or whole for evaluation."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.forgeries import Forgeries, ForgeryConfig, Pixels, synthesize
from ansm_plugin.photographs import halved, packaged, procedural

SUFFIXES = {".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp"}
_MASK_ENDINGS = ("", "_gt", "_mask")
# Formats of these suffixes and of what is often mistaken for one; others have readers that start
# programs (EPS) or that hardly anybody tries.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "DIB", "WEBP", "GIF", "PPM")
# What Pillow's readers raise for damaged files.
_DAMAGED = (
    OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_RINGING = 16  # grey levels that JPEG may add to an empty mask
_BAND = 1024  # rows
_LARGEST_PIXELS = 178_000_000  # where Pillow takes an image for a decompression bomb


class Pair(NamedTuple):
    """An image file and its mask file."""

    image: Path
    mask: Path


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Where crops come from.

    Attributes:
        images: folder of images; with `masks`, forged images; alone, photographs that synthetic
            forgeries are made of. None: built-in photographs, of `split`.
        masks: folder of masks with the same stems (`_gt` and `_mask` endings count as the same).
        pattern: only images whose file name matches, such as "train_*".
        count: number of crops.
        split: of the built-in photographs: "train" (with procedural scenes) or "test".
        seed: decides the crops.
        forgeries: size of the crops, and what synthetic forgeries look like.
    """

    images: Path | None = None
    masks: Path | None = None
    pattern: str = "*"
    count: int = 16384
    split: str = "train"
    seed: int = 0
    forgeries: ForgeryConfig = field(default_factory=ForgeryConfig)

    def __post_init__(self) -> None:
        """Raise ConfigError where fields contradict each other."""
        if self.masks is not None and self.images is None:
            raise ConfigError("masks were given without images; name the folder of both.")
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; it must be 1 or more.")
        if self.split not in ("train", "test"):
            raise ConfigError(f"split is {self.split!r}; allowed: train, test.")


def load_crops(config: DataConfig) -> Forgeries:
    """Return `config.count` crops with masks, decided by the config alone."""
    if config.images is not None and config.masks is not None:
        pairs = find_pairs(config.images, config.masks, config.pattern)
        return _crop_pairs(pairs, config)
    if config.images is not None:
        photographs = [read_image(p) for p in list_images(config.images, config.pattern)]
    elif config.split == "train":
        own = packaged("train")
        # Half-size copies: the same few photographs seen from farther away.
        photographs = [*own, *map(halved, own), *procedural(120, seed=config.seed)]
    else:
        photographs = packaged("test")
    return synthesize(photographs, config.count, config.forgeries, seed=config.seed)


def list_images(folder: Path, pattern: str = "*") -> list[Path]:
    """Return the image files of a folder in order of their names.

    Raises:
        ImageError: no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise ImageError(f"there is no folder {folder}; check the path.")
    try:
        found = sorted(p for p in folder.glob(pattern) if p.suffix.lower() in SUFFIXES)
    except (ValueError, NotImplementedError, IndexError) as error:  # "", "/*", a null character
        raise ImageError(f"{pattern!r} matches no file names ({error}); write train_*.") from error
    if not found:
        raise ImageError(
            f"no image matches {pattern!r} in {folder}; allowed: {', '.join(sorted(SUFFIXES))}."
        )
    return found


def find_pairs(images: Path, masks: Path, pattern: str = "*") -> list[Pair]:
    """Return images with their masks, matched by stem; images without partner are a warning.

    Raises:
        ImageError: a folder is missing or empty, or no stem has a partner.
    """
    by_stem = {p.stem: p for p in list_images(masks)}
    candidates = list_images(images, pattern)
    found: list[Pair] = []
    alone: list[str] = []
    for image in candidates:
        named = (by_stem.get(image.stem + ending) for ending in _MASK_ENDINGS)
        # Both may lie in one folder: an image is not its own mask.
        mask = next((m for m in named if m is not None and m != image), None)
        if mask is None:
            alone.append(image.name)
        else:
            found.append(Pair(image, mask))
    if not found:
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
    return found


def read_image(path: Path) -> Pixels:
    """Return an image as `(H, W, 3)` uint8 RGB, turned as its EXIF orientation says.

    CMYK, palette and grey images are converted, alpha is dropped, 16-bit images are reduced to 8.

    Raises:
        ImageError: missing, empty, truncated, animated, too large, or not an image.
    """
    image = _decoded(path)
    if image.mode.startswith("I") or image.mode == "F":
        return _from_16_bit(image, path)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def read_mask(path: Path, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a mask as `(H, W)` in {0, 1}.

    Args:
        path: an image whose white (or 1) pixels are forged.
        size: expected (H, W).

    Raises:
        ImageError: unreadable, of another size, or not binary.
    """
    image = _decoded(path)
    if image.mode == "F" and not np.isfinite(np.asarray(image)).all():
        raise ImageError(f"mask {path} holds NaN or infinite values; save it with two values.")
    # Pillow cuts 16-bit levels at 255, so that white stays white and 1 stays 1.
    grey = np.asarray(image.convert("L"))
    if grey.shape != size:
        raise ImageError(
            f"mask {path} is {grey.shape[1]}x{grey.shape[0]}, its image {size[1]}x{size[0]}; "
            "give a mask of the same size."
        )
    top = 1 if grey.max() <= 1 else 255
    # Masks saved as JPEG ring a little around edges; more than that is not a binary mask.
    between = float(((grey > 0.25 * top) & (grey < 0.75 * top)).mean())
    if between > 0.02:
        raise ImageError(
            f"mask {path} is not binary: {between:.1%} of its pixels are neither near 0 nor near "
            f"{top}. Save it with two values."
        )
    if _RINGING < grey.max() < 0.5 * top:
        raise ImageError(
            f"mask {path} is neither empty nor binary: its brightest level is {grey.max()}; "
            f"forged pixels are 1 or near {top}. Save it with two values."
        )
    return (grey >= 0.5 * top).astype(np.uint8)


def read_pair(pair: Pair) -> tuple[Pixels, NDArray[np.uint8]]:
    """Return an image `(H, W, 3)` uint8 and its mask `(H, W)` in {0, 1}."""
    image = read_image(pair.image)
    return image, read_mask(pair.mask, image.shape[:2])


def to_tensor(pixels: Pixels) -> torch.Tensor:
    """Map `(H, W, 3)` uint8 to `(1, 3, H, W)` float in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div_(255)[None]


def _crop_pairs(pairs: Sequence[Pair], config: DataConfig) -> Forgeries:
    """Cut `count` crops; each photograph is read once and gives an equal number."""
    size = config.forgeries.size
    shares = np.bincount(np.arange(config.count) % len(pairs), minlength=len(pairs))
    images, masks = [], []
    for index, (pair, share) in enumerate(zip(pairs, shares, strict=True)):
        if share == 0:
            continue
        image, mask = read_pair(pair)
        if min(mask.shape) < size:
            raise ImageError(
                f"{pair.image} is {mask.shape[1]}x{mask.shape[0]}; crops of {size} need more. "
                "Lower the crop size."
            )
        rng = np.random.default_rng((config.seed, index))
        for _ in range(share):
            top, left = _corner(mask, size, rng)
            images.append(image[top : top + size, left : left + size].transpose(2, 0, 1))
            masks.append(mask[None, top : top + size, left : left + size])
    return Forgeries(torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(masks)))


def _corner(mask: NDArray[np.uint8], size: int, rng: np.random.Generator) -> tuple[int, int]:
    """Draw a crop corner; where the mask is not empty, up to ten times to meet forged pixels."""
    for _ in range(10):
        top = int(rng.integers(mask.shape[0] - size + 1))
        left = int(rng.integers(mask.shape[1] - size + 1))
        if mask[top : top + size, left : left + size].any():
            break
    return top, left


def _decoded(path: Path) -> Image.Image:
    """Return one still image, decoded and upright; raise ImageError that says what is wrong."""
    if not path.is_file():
        raise ImageError(f"there is no file {path}; check the path.")
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty (0 bytes); copy it again.")
    try:
        return _decode(path)
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"{path} has more than {_LARGEST_PIXELS:,} pixels; cut it into parts."
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(
            f"{path} is not an image that Pillow knows; allowed: {', '.join(sorted(SUFFIXES))}."
        ) from error
    except _DAMAGED as error:
        raise ImageError(f"{path} is truncated or damaged ({error}); copy it again.") from error


def _decode(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        # Pillow warns of large images and damaged metadata; the pixels decide.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.simplefilter("ignore", UserWarning)
        with Image.open(path, formats=_FORMATS) as opened:
            if opened.width * opened.height > _LARGEST_PIXELS:
                raise Image.DecompressionBombError
            # Phones write MPO: a photograph with a depth map or preview behind it.
            if getattr(opened, "is_animated", False) and opened.format != "MPO":
                frames = getattr(opened, "n_frames", 1)
                raise ImageError(f"{path} has {frames} frames; save the one you mean as a PNG.")
            ImageOps.exif_transpose(opened, in_place=True)  # a copy costs 0.4 GB at 100 megapixels
            opened.load()
    return opened


def _from_16_bit(image: Image.Image, path: Path) -> Pixels:
    """Reduce 16-bit grey levels to 8 bit."""
    levels = np.asarray(image)
    low, high = float(levels.min()), float(levels.max())
    if not (low >= 0 and high <= 65535):  # NaN is neither
        raise ImageError(f"{path} holds levels outside 0 to 65535; save it as 8-bit PNG.")
    # Floating point images go from 0 to 1 by custom; as 16-bit levels they would all be black.
    scale = 255.0 if image.mode == "F" and high <= 1 else 1 / 257
    grey = np.empty(levels.shape, np.uint8)
    for top in range(0, len(levels), _BAND):  # in parts: a copy in floats takes eight times as much
        part = levels[top : top + _BAND].astype(np.float64)
        grey[top : top + _BAND] = np.rint(part * scale)
    return np.repeat(grey[..., None], 3, axis=2)
