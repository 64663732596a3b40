"""What a platform does to a picture that is uploaded: real codecs, resizing, blur and noise.

For crops that are made once, before training: `augment.channel` has differentiable twins for what
happens between an attack and the module, `evaluation.channels` those with a name in results.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import through_file, to_8_bit
from ansm_plugin.data.edits import resized
from ansm_plugin.data.pixels import Pixels, Rng
from ansm_plugin.system.progress import Progress, silent


def _jpeg(pixels: Pixels, rng: Rng) -> Pixels:
    return through_file(pixels, "JPEG", int(rng.integers(60, 97)))


def _webp(pixels: Pixels, rng: Rng) -> Pixels:
    return through_file(pixels, "WEBP", int(rng.integers(60, 97)))


def _resize(pixels: Pixels, rng: Rng) -> Pixels:
    """Shrink to 0.5 to 0.95 and enlarge again, so that masks stay as they are."""
    height, width = pixels.shape[:2]
    share = float(rng.uniform(0.5, 0.95))
    size = (max(1, round(height * share)), max(1, round(width * share)))
    small = resized(pixels.astype(np.float32), size, rng)
    return to_8_bit(resized(small, (height, width), rng))


def _blur(pixels: Pixels, rng: Rng) -> Pixels:
    return to_8_bit(blurred(pixels.astype(np.float32), float(rng.uniform(0.3, 1.0))))


def _noise(pixels: Pixels, rng: Rng) -> Pixels:
    sigma = float(rng.uniform(0.5, 3.0))
    grain = rng.normal(0, sigma, pixels.shape).astype(np.float32)
    return to_8_bit(pixels.astype(np.float32) + grain)


CHANNELS: dict[str, Callable[[Pixels, Rng], Pixels]] = {
    "jpeg": _jpeg,
    "webp": _webp,
    "resize": _resize,
    "blur": _blur,
    "noise": _noise,
}
_SHARES = (0.4, 0.15, 0.25, 0.1, 0.1)  # evidence is JPEG


def uploaded(images: Tensor, share: float, *, seed: int, progress: Progress = silent) -> Tensor:
    """Pass a share of all images through a channel drawn for each of them.

    Shape: `(N, 3, H, W)` uint8 -> the same; the others are left as they are.

    Args:
        images: pictures.
        share: of them, from 0 to 1.
        seed: together with its number it decides what happens to a picture.
        progress: called with "degrading crops", finished and all pictures, and no logs.
    """
    if not share:
        return images
    passed = images.clone()
    for number in range(len(images)):
        rng = np.random.default_rng((seed, 1117, number))
        if rng.random() < share:
            way = CHANNELS[str(rng.choice(list(CHANNELS), p=_SHARES))]
            pixels = way(images[number].permute(1, 2, 0).numpy(), rng)
            passed[number] = torch.from_numpy(pixels).permute(2, 0, 1)
        progress("degrading crops", number + 1, len(images), {})
    return passed
