"""Photographs without a download: procedural scenes, and those inside our dependencies' packages.

A procedural scene is a dead-leaves picture (Lee, Mumford and Huang, IJCV 2001) with 1/f texture,
seen through a simulated camera: Bayer mosaic, shot and read noise, bilinear demosaicing, gamma,
JPEG. Forensic traces live in noise and compression, not in content.
"""

from __future__ import annotations

import importlib.resources
from functools import partial
from importlib.resources.abc import Traversable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import jpeg, to_8_bit
from ansm_plugin.data.pixels import Floats, Pixels, Plane, Rng
from ansm_plugin.errors import ConfigError
from ansm_plugin.system.cores import cores
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.spread import spread

_MANY = 16  # scenes, a second's work: fewer are made sooner than processes are started

_CAMERAS = (
    "epson-photopc-3000z",
    "htc-one-m8",
    "kodak-dx4900-zoom",
    "kyocera-fc-s3",
    "nikon-d40",
    "nikon-e950",
    "nokia-3110c",
    "panasonic-lz2",
    "samsung-s730",
    "sony-dcr-pc110e",
)
# scikit-image's and matplotlib's own sample photographs (public domain or CC0); no host
# photograph of the test split is in the train split. "cameras": JPEG files as ten cameras wrote
# them, none of which any packaged weights were trained on.
_PACKAGED = {
    "train": [
        ("skimage", f"data/{name}")
        for name in (
            "coffee.png",
            "rocket.jpg",
            "ihc.png",
            "brick.png",
            "grass.png",
            "gravel.png",
            "camera.png",
            "coins.png",
            "motorcycle_left.png",
        )
    ],
    "test": [
        ("skimage", "data/astronaut.png"),
        ("skimage", "data/chelsea.png"),
        ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    ],
    "cameras": [("ansm_plugin", f"assets/photographs/{name}.jpg") for name in _CAMERAS],
}


def packaged(split: Literal["train", "test", "cameras"]) -> list[Pixels]:
    """Return the photographs of a split as `(H, W, 3)` uint8 arrays."""
    if split not in _PACKAGED:
        raise ConfigError(f"split is {split!r}; allowed: train, test, cameras.")
    return [_read(importlib.resources.files(package) / path) for package, path in _PACKAGED[split]]


def procedural(
    count: int,
    *,
    seed: int,
    size: int = 192,
    processes: int | None = None,
    progress: Progress = silent,
) -> list[Pixels]:
    """Return `count` procedural scenes `(size, size, 3)` uint8; scene i depends on (seed, i).

    Args:
        count: of scenes.
        seed: decides them.
        size: height and width in pixels.
        processes: worker processes; None uses the cores of the machine where there are many scenes.
        progress: called with "making scenes", finished and all scenes, and no logs.
    """
    return spread(
        partial(_numbered_scene, size=size, seed=seed),
        range(count),
        processes or (cores() if count >= _MANY else 1),
        tell=lambda number: progress("making scenes", number + 1, count, {}),
    )


def _numbered_scene(number: int, *, size: int, seed: int) -> Pixels:
    return scene(size, np.random.default_rng((seed, 7919, number)))


def halved(photograph: Pixels) -> Pixels:
    """Return a photograph `(H, W, 3)` at half its height and width."""
    size = (photograph.shape[1] // 2, photograph.shape[0] // 2)
    return np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BOX))


def scene(size: int, rng: Rng) -> Pixels:
    """Return one procedural scene through the simulated camera."""
    light = _dead_leaves(size, rng) * (0.7 + 0.6 * _texture(size, rng)[..., None])
    light = blurred(light.astype(np.float32), rng.uniform(0.4, 1.0))  # the lens
    developed = _develop(_mosaic(light.clip(0, 1)), rng)
    pixels = (255 * developed.clip(0, 1) ** (1 / 2.2)).astype(np.float32)
    if rng.random() < 0.8:
        pixels = jpeg(pixels, int(rng.integers(88, 99)))
    return to_8_bit(pixels)


def _read(file: Traversable) -> Pixels:
    with file.open("rb") as stream:
        return np.asarray(Image.open(stream).convert("RGB"))


def _dead_leaves(size: int, rng: Rng) -> Floats:
    """Opaque discs and boxes with power-law sizes, each with its colour, gradient and texture."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = rng.uniform(0.05, 0.7, 3)
    for _ in range(int(rng.integers(25, 90))):
        radius = 0.03 / (rng.random() + 0.05)  # many small leaves, few large ones
        centre, angle = rng.random(2), rng.uniform(0, np.pi)
        u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
        v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
        v = v * rng.uniform(0.6, 2.5)
        distance = np.hypot(u, v) if rng.random() < 0.5 else np.maximum(abs(u), abs(v))
        inside = distance < radius
        shade = 1 + rng.normal(0, 0.6) * u[inside] / radius
        if rng.random() < 0.35:
            shade = shade * (1 + 0.4 * np.sin(u[inside] * rng.uniform(60, 500)))
        canvas[inside] = rng.uniform(0.01, 0.8, 3) * shade[:, None]
    return canvas.clip(0, 1)


def _texture(size: int, rng: Rng) -> Plane:
    """Return a 1/f^a random field scaled to [0, 1]."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    spectrum = np.hypot(fy, fx)
    spectrum[0, 0] = 1
    phase = np.exp(2j * np.pi * rng.random(spectrum.shape))
    field = np.fft.irfft2(phase / spectrum ** rng.uniform(0.8, 1.8), s=(size, size))
    low, high = field.min(), field.max()
    scaled: Plane = ((field - low) / (high - low)).astype(np.float32)
    return scaled


def _mosaic(light: Floats) -> Plane:
    """Sample the RGGB Bayer pattern: `(H, W, 3)` -> `(H, W)`."""
    raw = light[..., 1].copy()
    raw[::2, ::2] = light[::2, ::2, 0]
    raw[1::2, 1::2] = light[1::2, 1::2, 2]
    return raw


def _develop(raw: Plane, rng: Rng) -> Floats:
    """Add shot and read noise, then demosaic bilinearly: `(H, W)` -> `(H, W, 3)`."""
    shot, read = rng.uniform(0.0002, 0.0015), rng.uniform(0.001, 0.006)
    noise = rng.normal(0, 1, raw.shape) * np.sqrt(shot * raw + read**2)
    raw = (raw + noise).astype(np.float32)
    sites = np.zeros((*raw.shape, 3), np.float32)
    sites[::2, ::2, 0] = sites[1::2, 1::2, 2] = 1
    sites[::2, 1::2, 1] = sites[1::2, ::2, 1] = 1
    weight = np.array([0.5, 1.0, 0.5], np.float32)
    total, known = (raw[..., None] * sites).astype(np.float32), sites
    for axis in (0, 1):
        total, known = (_three_tap(a, weight, axis) for a in (total, known))
    return (total / known).astype(np.float32)


def _three_tap(values: Floats, weight: NDArray[np.float32], axis: int) -> Floats:
    padding = [(1, 1) if a == axis else (0, 0) for a in range(3)]
    padded = np.pad(values, padding, mode="reflect")
    result: Floats = np.lib.stride_tricks.sliding_window_view(padded, 3, axis=axis) @ weight
    return result
