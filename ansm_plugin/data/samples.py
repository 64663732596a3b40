"""What is evaluated: samples, attacks and their order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, overload

import torch
from torch import Tensor

from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.data.pairs import Pair, read_pair
from ansm_plugin.data.pixels import to_tensor


class Sample(NamedTuple):
    """A batch of images of one size.

    Images `(B, 3, H, W)` in [0, 1], masks `(B, 1, H, W)` in {0, 1}, one name each. An empty mask
    marks an authentic image.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


_CROPS_PER_BATCH = 32
_PIXELS_PER_BATCH = 1_000_000


def crop_samples(crops: Forgeries) -> list[Sample]:
    """Return crops as batches of floats, named by their number."""
    count = _CROPS_PER_BATCH
    return [
        Sample(
            crops.images[start : start + count].float().div(255),
            crops.masks[start : start + count].float(),
            tuple(f"crop {i + 1}" for i in range(start, min(start + count, len(crops)))),
        )
        for start in range(0, len(crops), count)
    ]


class WholeImages(Sequence[Sample]):
    """Batches of whole images of equal size, read from their files at each access.

    Args:
        pairs: images and masks; each is read once here, so that a bad one is found at the start.

    Raises:
        ImageError: a file cannot be read, or a mask does not fit.
    """

    def __init__(self, pairs: Sequence[Pair]) -> None:
        by_size: dict[tuple[int, int], list[Pair]] = defaultdict(list)
        for pair in pairs:
            _, mask = read_pair(pair)
            height, width = mask.shape
            by_size[height, width].append(pair)
        self._batches: list[list[Pair]] = []
        for (height, width), group in by_size.items():
            count = max(1, _PIXELS_PER_BATCH // (height * width))
            self._batches += [group[i : i + count] for i in range(0, len(group), count)]

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
        read = [read_pair(pair) for pair in batch]
        images = [to_tensor(image) for image, _ in read]
        masks = [torch.from_numpy(mask).float()[None, None] for _, mask in read]
        return Sample(_joined(images), _joined(masks), tuple(pair.image.name for pair in batch))


def _joined(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)  # joining copies, even one photograph
