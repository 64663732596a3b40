"""Crops that are made of photographs, by one process or several, the same ones in any order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ansm_plugin.data.pixels import Mask, Pixels
from ansm_plugin.errors import ImageError
from ansm_plugin.system.cores import cores
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.system.spread import spread

_RANGE = 8  # most crops that are made at once: half a second of photographic ones, and of Ctrl-C


class Forged(NamedTuple):
    """A finished crop `(S, S, 3)` uint8, its mask `(S, S)` in {0, 1}, its host's number."""

    image: Pixels
    mask: Mask
    host: int


class Made(NamedTuple):
    """Crops `(N, 3, S, S)` uint8, masks `(N, 1, S, S)` uint8 in {0, 1}, hosts' numbers `(N,)`."""

    images: Tensor
    masks: Tensor
    hosts: Tensor


# Makes the crop of a number from the photographs; sent to other processes, so it can be pickled.
Maker = Callable[[Sequence[Pixels], int], Forged]


def make_crops(
    maker: Maker,
    photographs: Sequence[Pixels],
    count: int,
    *,
    least: int,
    processes: int | None = None,
    progress: Progress = silent,
) -> Made:
    """Make `count` crops out of `photographs`.

    Args:
        maker: makes one crop; what it draws depends on the photographs and the number alone.
        photographs: `(H, W, 3)` uint8 arrays.
        count: how many crops.
        least: pixels that a photograph must have on both sides; smaller ones are left out.
        processes: worker processes; None uses the cores of the machine, 1 stays in this one.
        progress: called with "forging crops", finished and all crops, and no logs.

    Raises:
        ImageError: no photograph is large enough.
    """
    numbers = [i for i, p in enumerate(photographs) if min(p.shape[:2]) >= least]
    usable = [photographs[i] for i in numbers]
    if not usable:
        raise ImageError(
            f"none of {len(photographs)} photographs is {least} pixels or more on both "
            "sides; give larger photographs or a smaller size."
        )
    workers = processes or cores()
    pieces = max(4 * workers, math.ceil(count / _RANGE))
    bounds = np.linspace(0, count, pieces + 1).astype(int)
    parts = spread(
        _make_range,
        [(int(a), int(b)) for a, b in pairwise(bounds) if b > a],
        workers,
        tell=lambda made: progress("forging crops", made[1], count, {}),
        install=_install,
        given=(maker, usable),
    )
    images = np.concatenate([p[0] for p in parts])
    masks = np.concatenate([p[1] for p in parts])
    hosts = torch.tensor(numbers)[[host for part in parts for host in part[2]]]
    return Made(torch.from_numpy(images), torch.from_numpy(masks), hosts)


# --- the crops of one worker process ------------------------------------------------------------

# Sent once to each process, not with every task. Each call brings a list of its own: makers keep
# what they find out about photographs as long as the list is the same.
_work: list[tuple[Maker, Sequence[Pixels]]] = []


def _install(maker: Maker, photographs: Sequence[Pixels]) -> None:
    _work[:] = [(maker, photographs)]


def _make_range(
    bounds: tuple[int, int],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], list[int]]:
    ((maker, photographs),) = _work
    crops = [maker(photographs, index) for index in range(*bounds)]
    images = np.stack([crop.image.transpose(2, 0, 1) for crop in crops])
    return images, np.stack([crop.mask[None] for crop in crops]), [crop.host for crop in crops]
