"""Pixels through an image file in memory: compressed by Pillow and read back, 8 bit."""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
from PIL import Image

from ansm_plugin.data.pixels import Floats, Pixels

Codec = Literal["JPEG", "WEBP"]
Subsampling = Literal["4:2:0", "4:4:4"]


def through_file(
    pixels: Pixels, codec: Codec, quality: int, subsampling: Subsampling = "4:2:0"
) -> Pixels:
    """Compress `(H, W, 3)` uint8 pixels at a quality of 1 to 100 and read them back.

    `subsampling` is that of JPEG's chroma, and means nothing to WebP, which has 4:2:0. What else a
    codec can choose is left to Pillow.
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, codec, quality=quality, subsampling=subsampling)
    return np.array(Image.open(file))


def jpeg(pixels: Floats, quality: int) -> Floats:
    """Round `(H, W, 3)` pixels to [0, 255], compress them as JPEG and read them back."""
    return through_file(to_8_bit(pixels), "JPEG", quality).astype(np.float32)


def to_8_bit(pixels: Floats) -> Pixels:
    """Round `(H, W, 3)` pixels to whole grey levels in [0, 255]."""
    return np.rint(pixels).clip(0, 255).astype(np.uint8)
