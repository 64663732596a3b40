"""What is evaluated: batches of images with their masks, in memory or read when they are needed."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self, overload

import numpy as np
import torch
from torch import Tensor

from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.data.masks import Remarks
from ansm_plugin.data.pairs import Pair, each, read_pair
from ansm_plugin.data.pixels import to_tensor
from ansm_plugin.errors import ImageError
from ansm_plugin.localizer.call import require_pixels
from ansm_plugin.system.progress import Progress, silent


class _Named(NamedTuple):
    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


class Sample(_Named):
    """A batch of images of one size; unpacked it is images, masks and names.

    Args:
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}. An empty mask marks an authentic image.
        names: one each.
        sources: the photograph that each image was cut from, by any name: intervals are over
            photographs. Empty where each image is a photograph of its own.
    """

    sources: tuple[str, ...] = ()

    def __new__(
        cls, images: Tensor, masks: Tensor, names: tuple[str, ...], sources: tuple[str, ...] = ()
    ) -> Self:
        """Keep the sources beside the tuple, which has three parts since 0.1."""
        self = super().__new__(cls, images, masks, names)
        self.sources = sources
        return self

    def _replace(self, **changes: Any) -> Self:
        """Return the batch with other parts."""
        return type(self)(**{**self._asdict(), "sources": self.sources, **changes})

    def source_numbers(self, batch: int) -> Tensor:
        """Return a number for each image, equal where images come from one photograph.

        Args:
            batch: number of this batch; images without a source differ from those of all others.

        Returns:
            `(B,)` whole numbers below 2^48, fp64: the same in every process and release.
        """
        own = (f"batch {batch}, image {i}" for i in range(len(self.names)))
        named = (f"source {source}" for source in self.sources)
        hashes = (hashlib.sha256(n.encode()).digest() for n in (named if self.sources else own))
        return torch.tensor([int.from_bytes(h[:6]) for h in hashes], dtype=torch.float64)


class Facts(NamedTuple):
    """What one look at every sample tells.

    Attributes:
        images: their number, authentic ones included.
        first_forged: number of the first batch that holds a forged image; None where none does.
        digest: sha256 over pixels, masks, names and batches.
        shapes: number, height and width of the images of each batch.
    """

    images: int
    first_forged: int | None
    digest: str
    shapes: tuple[tuple[int, int, int], ...] = ()


_CROPS_PER_BATCH = 32
PIXELS_PER_BATCH = 1_000_000


def crop_samples(crops: Forgeries) -> list[Sample]:
    """Return crops as batches of floats, named by their number; their hosts are their sources."""
    count = _CROPS_PER_BATCH
    hosts = [] if crops.hosts is None else crops.hosts.tolist()
    return [
        Sample(
            crops.images[start : start + count].float().div(255),
            crops.masks[start : start + count].float(),
            tuple(f"crop {i + 1}" for i in range(start, min(start + count, len(crops)))),
            tuple(f"photograph {host + 1}" for host in hosts[start : start + count]),
        )
        for start in range(0, len(crops), count)
    ]


class Seen(NamedTuple):
    """What is kept of a pair that was read once: its files and size, and what it is."""

    pair: Pair
    size: tuple[int, int]
    is_forged: bool
    digest: bytes


class WholeImages(Sequence[Sample]):
    """Batches of whole images of equal size, read from their files at each access.

    Args:
        pairs: images and masks; each is read once here, so that bad ones are found at the start.
        root: folder below which images are named by their paths; None names them by their files.
        seen: what `look` returned for these pairs; None looks at them.

    Attributes:
        sizes: height and width of the images of each batch.
        facts: what was seen while they were read, so that nobody reads all of them to know.

    Raises:
        ImageError: files cannot be read, or masks do not fit; all of them are named.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        root: Path | None = None,
        *,
        seen: Sequence[Seen] | None = None,
    ) -> None:
        self._root = root
        by_size: dict[tuple[int, int], list[Seen]] = defaultdict(list)
        for one in look(pairs) if seen is None else seen:
            by_size[one.size].append(one)
        batches: list[list[Seen]] = []
        for (height, width), group in by_size.items():
            count = max(1, PIXELS_PER_BATCH // (height * width))
            batches += [group[i : i + count] for i in range(0, len(group), count)]
        self._batches = [[one.pair for one in batch] for batch in batches]
        self.sizes = [batch[0].size for batch in batches]
        self.facts = _facts_of(batches, [self._names(batch) for batch in self._batches])

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        """Read one batch, or several."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        batch = self._batches[index]
        said = Remarks()  # when they were looked at
        read = [read_pair(pair, said) for pair in batch]
        images = [to_tensor(image) for image, _ in read]
        masks = [torch.from_numpy(mask).float()[None, None] for _, mask in read]
        return Sample(_joined(images), _joined(masks), self._names(batch))

    def _names(self, batch: Sequence[Pair]) -> tuple[str, ...]:
        files = [pair.image for pair in batch]
        root = self._root
        return tuple(f.name if root is None else f.relative_to(root).as_posix() for f in files)


def look(pairs: Sequence[Pair], progress: Progress = silent) -> list[Seen]:
    """Read every pair once; what is unusual about masks is said once.

    Args:
        pairs: images and masks.
        progress: called with "read images", finished and all pairs, and no logs.

    Raises:
        ImageError: files cannot be read, or masks do not fit; all of them are named.
    """
    return each(pairs, _look, phase="read images", progress=progress)


def require_samples(samples: Sequence[Sample]) -> Facts:
    """Look at every sample once, or at what whole images know of themselves.

    Raises:
        ImageError: a sample cannot be scored, or no image is forged.
    """
    facts = samples.facts if isinstance(samples, WholeImages) else _survey(samples)
    if facts.first_forged is None:
        raise ImageError(
            f"none of the {len(samples)} batches holds a forged image (a mask that is not empty); "
            "F1 needs at least one."
        )
    return facts


def count_images(samples: Sequence[Sample]) -> int:
    """Return the number of all images; of whole images without reading them again."""
    if isinstance(samples, WholeImages):
        return samples.facts.images
    return sum(len(sample.names) for sample in samples)


def first_size(samples: Sequence[Sample]) -> tuple[int, int]:
    """Return height and width of the first batch; of whole images without reading them again."""
    if isinstance(samples, WholeImages):
        return samples.sizes[0]
    height, width = samples[0].images.shape[-2:]
    return height, width


def _survey(samples: Sequence[Sample]) -> Facts:
    count, first_forged, digest = 0, None, hashlib.sha256()
    shapes: list[tuple[int, int, int]] = []
    for index, sample in enumerate(samples):
        _require_fitting(sample)
        for pixels in sample[:2]:
            digest.update(pixels.detach().cpu().float().contiguous().numpy().data)
        digest.update(repr(sample.names).encode())
        if sample.sources:
            digest.update(repr(sample.sources).encode())
        count += len(sample.images)
        shapes.append((len(sample.images), *sample.images.shape[-2:]))
        if first_forged is None and bool(sample.masks.any()):
            first_forged = index
    return Facts(count, first_forged, digest.hexdigest(), tuple(shapes))


def _require_fitting(sample: Sample) -> None:
    """Raise ImageError where images, masks and names of a batch cannot be scored together."""
    images, masks, names = sample
    require_pixels(images)
    expected = (len(images), 1, *images.shape[-2:])
    if tuple(masks.shape) != expected or len(names) != len(images):
        raise ImageError(
            f"masks have shape {tuple(masks.shape)} and there are {len(names)} names; images "
            f"of shape {tuple(images.shape)} need masks {expected} and one name each."
        )
    if len(sample.sources) not in (0, len(images)):
        raise ImageError(
            f"there are {len(sample.sources)} sources for {len(images)} images; give one for each "
            "image, or none."
        )
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise ImageError(f"the masks of {', '.join(names[:3])} hold other values than 0 and 1.")


def _look(pair: Pair, remarks: Remarks) -> Seen:
    """Read a pair and keep only what is small."""
    image, mask = read_pair(pair, remarks)
    height, width = mask.shape
    digest = hashlib.sha256(f"{height} {width} ".encode())
    for pixels in (image, mask):
        digest.update(np.ascontiguousarray(pixels).data)
    return Seen(pair, (height, width), bool(mask.any()), digest.digest())


def _facts_of(batches: Sequence[Sequence[Seen]], names: Sequence[tuple[str, ...]]) -> Facts:
    digest = hashlib.sha256()
    for batch, named in zip(batches, names, strict=True):
        for seen in batch:
            digest.update(seen.digest)
        digest.update(repr(named).encode())
    forged = (i for i, batch in enumerate(batches) if any(seen.is_forged for seen in batch))
    shapes = tuple((len(batch), *batch[0].size) for batch in batches)
    return Facts(sum(map(len, batches)), next(forged, None), digest.hexdigest(), shapes)


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # joining copies, even one photograph
