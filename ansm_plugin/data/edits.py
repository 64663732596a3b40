"""What happens to photographs before and after a forgery: resized, compressed, filtered, lit anew.

Each edit takes pixels `(H, W, 3)` in [0, 255] and a generator, and returns the same, of the same
size unless it says otherwise. Forger and honest photographer do the same things: whoever learns
from forgeries alone learns the edits.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import Subsampling, through_file, to_8_bit
from ansm_plugin.data.pixels import Floats, Mask, Pixels, Rng

QUALITIES = (60, 98)
_FILTERS = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)


def recompressed(pixels: Floats, rng: Rng, *, aligned: float = 0.5) -> Floats:
    """Save as JPEG and read again, on a grid that begins at the first pixel or anywhere.

    Args:
        pixels: what is saved.
        rng: draws quality, chroma sampling and grid.
        aligned: share of grids that begin at the first pixel.
    """
    down, across = (0, 0) if rng.random() < aligned else rng.integers(0, 8, 2)
    padded = np.pad(pixels, ((down, 0), (across, 0), (0, 0)), mode="edge")
    quality = int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
    chroma: Subsampling = "4:2:0" if rng.random() < 0.6 else "4:4:4"
    saved = through_file(to_8_bit(padded), "JPEG", quality, chroma)
    return saved[down:, across:].astype(np.float32)


def brightened(pixels: Floats, rng: Rng) -> Floats:
    """Change gamma, contrast and the balance of colours."""
    gamma, contrast = np.exp(rng.uniform(-0.25, 0.25, 2))
    balance = np.exp(rng.uniform(-0.06, 0.06, 3))
    lit = 255 * (pixels.clip(0, 255) / 255) ** gamma
    changed: Floats = (((lit - 128) * contrast + 128) * balance).clip(0, 255).astype(np.float32)
    return changed


def sharpened(pixels: Floats, rng: Rng) -> Floats:
    """Add what a blur takes away, as an unsharp mask does."""
    soft = blurred(pixels, float(rng.uniform(0.6, 1.5)))
    amount = np.float32(rng.uniform(0.3, 1.2))
    return (pixels + amount * (pixels - soft)).clip(0, 255)


def denoised(pixels: Floats, rng: Rng) -> Floats:
    """Smooth a little: by a median of 3x3, or by a Gaussian."""
    if rng.random() < 0.5:
        image = Image.fromarray(to_8_bit(pixels)).filter(ImageFilter.MedianFilter(3))
        return np.asarray(image, np.float32)
    return blurred(pixels, float(rng.uniform(0.4, 0.9)))


def resized(pixels: Floats, size: tuple[int, int], rng: Rng) -> Floats:
    """Resample to a height and width by a filter drawn at random."""
    kind = _FILTERS[int(rng.integers(len(_FILTERS)))]
    image = Image.fromarray(to_8_bit(pixels)).resize((size[1], size[0]), kind)
    return np.asarray(image, np.float32)


def resized_mask(mask: Mask, size: tuple[int, int]) -> Mask:
    """Resample a mask `(H, W)` in {0, 1} to a height and width; its outline stays smooth."""
    soft = Image.fromarray(mask * 255).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    resampled: Mask = (np.asarray(soft) > 127).astype(np.uint8)
    return resampled


EDITS: dict[str, Callable[[Floats, Rng], Floats]] = {
    "recompress": recompressed,
    "brighten": brightened,
    "sharpen": sharpened,
    "denoise": denoised,
}


def edited(pixels: Floats, rng: Rng, share: float) -> Floats:
    """Apply each of `EDITS` with a probability of `share`, in an order drawn at random."""
    for number in rng.permutation(len(EDITS)):
        if rng.random() < share:
            pixels = list(EDITS.values())[number](pixels, rng)
    return pixels


def window(photograph: Pixels, side: int, rng: Rng, *, smallest: float = 0.4) -> Floats:
    """Return a square `(side, side, 3)` of a photograph, of a smaller copy of it half of the time.

    Args:
        photograph: no smaller than `side`.
        side: in pixels.
        rng: draws scale and place.
        smallest: scale of the smallest copy.
    """
    height, width = photograph.shape[:2]
    least = max(smallest, side / min(height, width))
    scale = float(rng.uniform(min(1.0, least), 1.0)) if rng.random() < 0.5 else 1.0
    taken = min(height, width, max(side, round(side / scale)))
    top, left = (int(rng.integers(length - taken + 1)) for length in (height, width))
    cut = photograph[top : top + taken, left : left + taken].astype(np.float32)
    return cut if taken == side else resized(cut, (side, side), rng)
