"""Synthetic forgeries from photographs: splice, copy-move and removal.

The forged region differs from its surroundings by content and by a trace: sensor noise, blur,
JPEG history or resampling. Every forgery depends on (photographs, config, seed, index) alone, so
any number of processes make the same ones in any order.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import jpeg, to_8_bit
from ansm_plugin.data.donors import KINDS, pick_number, random_crop
from ansm_plugin.data.pixels import Floats, Mask, Pixels, Plane, Rng
from ansm_plugin.data.traces import TRACES
from ansm_plugin.errors import ConfigError, ImageError, unknown_name


@dataclass(frozen=True, kw_only=True)
class ForgeryConfig:
    """What the synthetic forgeries look like.

    Attributes:
        size: side of the square crops, in pixels.
        area: smallest and largest share of forged pixels.
        kinds: names in `KINDS` to draw from.
        traces: names in `TRACES` to draw from.
        authentic: share of crops that are left untouched (their mask is empty).
        jpeg: share of finished crops that are compressed once more, at quality 85 to 98.
        sensor_noise: standard deviation, in grey levels, of the noise that a forged region carries
            beside its trace: it comes from another camera. (0, 0) leaves the trace alone, which
            often leaves no evidence (a blurred clear sky, a sharp donor in a soft photograph).
    """

    size: int = 64
    area: tuple[float, float] = (0.1, 0.4)
    kinds: tuple[str, ...] = ("splice",)
    traces: tuple[str, ...] = ("noise", "blur", "jpeg", "resample")
    authentic: float = 0.0
    jpeg: float = 0.0
    sensor_noise: tuple[float, float] = (5.0, 14.0)

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown names and values out of range."""
        for word, names, known in (("kind", self.kinds, KINDS), ("trace", self.traces, TRACES)):
            if not names:
                raise ConfigError(f"no forgery {word}s are named; known: {', '.join(known)}.")
            for name in names:
                if name not in known:
                    raise ConfigError(unknown_name(f"forgery {word}", name, known))
        if self.size < 32 or not 0 < self.area[0] <= self.area[1] < 1:
            raise ConfigError(f"size {self.size} must be 32 or more, area {self.area} in (0, 1).")


@dataclass(frozen=True)
class Forgeries:
    """Images `(N, 3, S, S)` and masks `(N, 1, S, S)`; uint8, masks in {0, 1}.

    `hosts` `(N,)` has the number of the photograph that each crop was cut from, on the CPU; what
    was pasted into it may be of another. None where it is not known.
    """

    images: Tensor
    masks: Tensor
    hosts: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of crops."""
        return len(self.images)

    def to(self, device: torch.device) -> Forgeries:
        """Return the crops on a device; training draws batches there without copies."""
        return Forgeries(self.images.to(device), self.masks.to(device), self.hosts)


def synthesize(
    photographs: Sequence[Pixels],
    count: int,
    config: ForgeryConfig,
    *,
    seed: int,
    processes: int | None = None,
) -> Forgeries:
    """Make `count` forgeries out of `photographs`.

    Args:
        photographs: `(H, W, 3)` uint8 arrays; those smaller than `config.size` are left out.
        count: how many crops.
        config: what they look like.
        seed: together with the index it decides each crop.
        processes: worker processes; None uses the cores of the machine, 1 stays in this one.

    Raises:
        ImageError: no photograph is at least `config.size` pixels on both sides.
    """
    numbers = [i for i, p in enumerate(photographs) if min(p.shape[:2]) >= config.size]
    usable = [photographs[i] for i in numbers]
    if not usable:
        raise ImageError(
            f"none of {len(photographs)} photographs is {config.size} pixels or more on both "
            "sides; give larger photographs or a smaller size."
        )
    make = partial(_forge_range, config=config, seed=seed)
    workers = processes or os.cpu_count() or 1
    bounds = np.linspace(0, count, (1 if workers == 1 else 4 * workers) + 1).astype(int)
    ranges = [(int(a), int(b)) for a, b in pairwise(bounds) if b > a]
    if workers == 1:
        _install(usable)
        parts = [make(r) for r in ranges]
    else:
        with ProcessPoolExecutor(workers, initializer=_install, initargs=(usable,)) as pool:
            parts = list(pool.map(make, ranges))
    images = np.concatenate([p[0] for p in parts])
    masks = np.concatenate([p[1] for p in parts])
    hosts = torch.tensor(numbers)[[host for part in parts for host in part[2]]]
    return Forgeries(torch.from_numpy(images), torch.from_numpy(masks), hosts)


def forge(photographs: Sequence[Pixels], config: ForgeryConfig, rng: Rng) -> tuple[Pixels, Mask]:
    """Return one crop `(S, S, 3)` uint8 and its mask `(S, S)` in {0, 1}."""
    image, mask, _ = _forge(photographs, config, rng)
    return image, mask


def _forge(
    photographs: Sequence[Pixels], config: ForgeryConfig, rng: Rng
) -> tuple[Pixels, Mask, int]:
    """Return what `forge` does, and the number of the photograph that the crop was cut from."""
    number = pick_number(photographs, rng)
    host = random_crop(photographs[number], config.size, rng).astype(np.float32)
    if rng.random() < config.authentic:
        mask = np.zeros((config.size, config.size), np.uint8)
        return _finish(host, config, rng), mask, number
    mask = region(config.size, config.area, rng)
    kind = KINDS[config.kinds[rng.integers(len(config.kinds))]]
    trace = TRACES[config.traces[rng.integers(len(config.traces))]]
    donor = trace(kind(host, photographs, mask, rng), rng)
    sigma = rng.uniform(*config.sensor_noise)
    donor = donor + rng.normal(0, sigma, donor.shape).astype(np.float32)
    edge = mask[..., None].astype(np.float32)
    if rng.random() < 0.5:  # a feathered edge, as a brush leaves it
        edge = blurred(edge, 0.6)
    composite = host + edge * (donor - host)
    return _finish(composite, config, rng), mask, number


def region(size: int, area: tuple[float, float], rng: Rng) -> Mask:
    """Return a random blob, ellipse or polygon-like mask `(size, size)` in {0, 1}."""
    share = rng.uniform(*area)
    if rng.random() < 0.6:
        cells = int(rng.integers(3, 6))
        coarse = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
        height = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC))
    else:
        height = -_squircle(size, rng)
    mask: Mask = (height > np.quantile(height, 1 - share)).astype(np.uint8)
    return mask


def _squircle(size: int, rng: Rng) -> Plane:
    """Distance to a random rotated ellipse (exponent 2) to rectangle (exponent 8)."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    centre = rng.uniform(0.25, 0.75, 2)
    angle, ratio = rng.uniform(0, np.pi), rng.uniform(0.5, 2.0)
    u = (x - centre[0]) * np.cos(angle) + (y - centre[1]) * np.sin(angle)
    v = (y - centre[1]) * np.cos(angle) - (x - centre[0]) * np.sin(angle)
    power = rng.choice([2, 8])
    distance: Plane = (np.abs(u * ratio) ** power + np.abs(v / ratio) ** power) ** (1 / power)
    return distance


# --- the crops of one worker process ------------------------------------------------------------

_photographs: list[Pixels] = []  # sent once to each process, not with every task


def _install(photographs: list[Pixels]) -> None:
    _photographs[:] = photographs


def _forge_range(
    bounds: tuple[int, int], config: ForgeryConfig, seed: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    crops = [_forge(_photographs, config, np.random.default_rng((seed, i))) for i in range(*bounds)]
    images = np.stack([image.transpose(2, 0, 1) for image, _, _ in crops])
    return images, np.stack([mask[None] for _, mask, _ in crops]), [host for _, _, host in crops]


def _finish(pixels: Floats, config: ForgeryConfig, rng: Rng) -> Pixels:
    if rng.random() < config.jpeg:
        pixels = jpeg(pixels, int(rng.integers(85, 99)))
    return to_8_bit(pixels)
