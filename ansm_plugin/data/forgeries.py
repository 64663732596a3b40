"""Synthetic forgeries from photographs: splice, copy-move and removal.

The forged region differs from its surroundings by content and by a trace: sensor noise, blur,
JPEG history or resampling. Every forgery depends on (photographs, config, seed, index) alone, so
any number of processes make the same ones in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.codec import jpeg, to_8_bit
from ansm_plugin.data.donors import KINDS, pick_number, random_crop
from ansm_plugin.data.making import Forged, make_crops
from ansm_plugin.data.pixels import Floats, Mask, Pixels, Rng
from ansm_plugin.data.regions import region as region  # its home in version 0.1
from ansm_plugin.data.traces import TRACES
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.system.progress import Progress, silent


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
    progress: Progress = silent,
) -> Forgeries:
    """Make `count` forgeries out of `photographs`.

    Args:
        photographs: `(H, W, 3)` uint8 arrays; those smaller than `config.size` are left out.
        count: how many crops.
        config: what they look like.
        seed: together with the index it decides each crop.
        processes: worker processes; None uses the cores of the machine, 1 stays in this one.
        progress: called with "forging crops", finished and all crops, and no logs.

    Raises:
        ImageError: no photograph is at least `config.size` pixels on both sides.
    """
    maker = partial(_numbered, config=config, seed=seed)
    made = make_crops(
        maker, photographs, count, least=config.size, processes=processes, progress=progress
    )
    return Forgeries(*made)


def _numbered(
    photographs: Sequence[Pixels], index: int, *, config: ForgeryConfig, seed: int
) -> Forged:
    return _forge(photographs, config, np.random.default_rng((seed, index)))


def forge(photographs: Sequence[Pixels], config: ForgeryConfig, rng: Rng) -> tuple[Pixels, Mask]:
    """Return one crop `(S, S, 3)` uint8 and its mask `(S, S)` in {0, 1}."""
    image, mask, _ = _forge(photographs, config, rng)
    return image, mask


def _forge(photographs: Sequence[Pixels], config: ForgeryConfig, rng: Rng) -> Forged:
    """Return what `forge` does, and the number of the photograph that the crop was cut from."""
    number = pick_number(photographs, rng)
    host = random_crop(photographs[number], config.size, rng).astype(np.float32)
    if rng.random() < config.authentic:
        mask = np.zeros((config.size, config.size), np.uint8)
        return Forged(_finish(host, config, rng), mask, number)
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
    return Forged(_finish(composite, config, rng), mask, number)


def _finish(pixels: Floats, config: ForgeryConfig, rng: Rng) -> Pixels:
    if rng.random() < config.jpeg:
        pixels = jpeg(pixels, int(rng.integers(85, 99)))
    return to_8_bit(pixels)
