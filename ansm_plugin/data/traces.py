"""The trace that forged content carries: noise, blur, JPEG history or resampling."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import jpeg, to_8_bit
from ansm_plugin.data.pixels import Floats, Rng


def _noise(donor: Floats, rng: Rng) -> Floats:
    sigma = rng.uniform(5, 14)
    return donor + rng.normal(0, sigma, donor.shape).astype(np.float32)


def _blur(donor: Floats, rng: Rng) -> Floats:
    return blurred(donor, rng.uniform(0.8, 2.0))


def _jpeg(donor: Floats, rng: Rng) -> Floats:
    return jpeg(donor, int(rng.integers(15, 61)))


def _resample(donor: Floats, rng: Rng) -> Floats:
    """Enlarge a random square of the donor by 1.3 to 3."""
    size = len(donor)
    side = size / rng.uniform(1.3, 3.0)
    left, top = rng.uniform(0, size - side, 2)
    box = (left, top, left + side, top + side)
    image = Image.fromarray(to_8_bit(donor))
    resized = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    return np.asarray(resized, np.float32)


TRACES: dict[str, Callable[[Floats, Rng], Floats]] = {
    "noise": _noise,
    "blur": _blur,
    "jpeg": _jpeg,
    "resample": _resample,
}
