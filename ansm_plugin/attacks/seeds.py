"""Where the randomness of an attack comes from: one source for a batch, or one for each image.

With a source for each image the noise of an image is the same in a batch of any size, so what was
measured does not depend on how many images fit into the memory of a device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

# One generator for the batch, one for each of its images, or the global one.
Source: TypeAlias = torch.Generator | Sequence[torch.Generator] | None

SEED_RULE = 2  # of evaluations: 1 was a seed for each batch, as 0.1 had it


def attack_generator(seed: int, attack: str, eps_255: float, batch: int) -> torch.Generator:
    """Return the source of all that one attack draws for one batch, or one image, by its number.

    It depends on its arguments alone, so neither the order nor the choice of other attacks
    changes a result.
    """
    text = f"{seed} {attack} {float(eps_255)} {batch}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def image_generators(
    seed: int, attack: str, eps_255: float, numbers: Iterable[int]
) -> list[torch.Generator]:
    """Return the sources of an attack for images by their numbers, whatever batch they are in."""
    return [attack_generator(seed, attack, eps_255, number) for number in numbers]


def uniform(shape: Sequence[int], source: Source, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return numbers drawn from [0, 1), on the CPU. Shape: `(B, ...)`."""
    count, *rest = shape
    if isinstance(source, Sequence):
        require_one_each(source, count)
        drawn = [torch.rand(1, *rest, generator=own, dtype=dtype) for own in source]
        return torch.cat(drawn) if drawn else torch.empty(0, *rest, dtype=dtype)
    return torch.rand(count, *rest, generator=source, dtype=dtype)


def integers(
    high: int, shape: Sequence[int], source: Source, dtype: torch.dtype = torch.int64
) -> Tensor:
    """Return whole numbers drawn from 0 to below `high`, on the CPU. Shape: `(B, ...)`."""
    count, *rest = shape
    if isinstance(source, Sequence):
        require_one_each(source, count)
        drawn = [torch.randint(high, (1, *rest), generator=own, dtype=dtype) for own in source]
        return torch.cat(drawn) if drawn else torch.empty(0, *rest, dtype=dtype)
    return torch.randint(high, (count, *rest), generator=source, dtype=dtype)


def each(count: int, source: Source) -> list[torch.Generator | None]:
    """Return the source that each of `count` images draws from, one after the other."""
    if not isinstance(source, Sequence):
        return [source] * count
    require_one_each(source, count)
    return list(source)


def changed(
    change: Callable[[Tensor, torch.Generator], Tensor], images: Tensor, source: Source
) -> Tensor:
    """Return what a random change makes of images: of the batch, or of each by its own source.

    Shape: `(B, ...)` -> `(B, ...)`.
    """
    if not isinstance(source, Sequence):
        return change(images, source or torch.default_generator)
    require_one_each(source, len(images))
    parts = zip(torch.split(images, 1), source, strict=True)
    return torch.cat([change(image, own) for image, own in parts])


def require_one_each(source: Sequence[torch.Generator], count: int) -> None:
    """Raise ValueError unless there is a generator for each of `count` images."""
    if len(source) != count:
        raise ValueError(f"{len(source)} generators for {count} images")
