"""Maps over an image: which tensors are some, and their part over an image that was padded.

Shape suffixes: B batch, C channels, H height, W width (cells of a map).
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = tuple[int, int]


def lies_over(cells: Size, size: Size) -> bool:
    """Return whether a grid can be a map of an image: of its size, a stride, or a multiple.

    Args:
        cells: height and width of the grid.
        size: height and width of the image. A stride may round up or down: 70 pixels are 17 or 18
            cells of 4.
    """
    if min(cells) < 1:
        return False
    # n cells of a stride s: n - 1 < length / s < n + 1. The smallest such s has to serve for both.
    stride = max(length // (n + 1) for n, length in zip(cells, size, strict=True)) + 1
    if all(stride * (n - 1) < length for n, length in zip(cells, size, strict=True)):
        return True
    factor = cells[0] // size[0]
    return factor > 1 and cells == (factor * size[0], factor * size[1])


def cut_to_image(tensor: Tensor, padded: Size, size: Size) -> Tensor:
    """Return the part of a map that lies over the image; any other tensor as it is.

    Where the image ends inside a cell, the map is resampled: as many cells as the image needs,
    spread over it evenly. So the part, enlarged to the image, lies where the whole map, enlarged to
    the padded image, does.

    Args:
        tensor: `(B, C, H, W)`, a map where it is in proportion to the padded image; or `(B, H, W)`,
            a map where it divides that.
        padded: height and width that the localizer was called with.
        size: height and width of the image, which lies at the top left.
    """
    if not _is_map(tensor, padded):
        return tensor
    for axis in (0, 1):
        tensor = _cut(tensor, axis - 2, padded[axis], size[axis])
    return tensor


def _is_map(tensor: Tensor, padded: Size) -> bool:
    if tensor.ndim < 3 or 0 in tensor.shape[-2:]:
        return False
    height, width = tensor.shape[-2:]
    if (height, width) == padded:
        return True
    if tensor.ndim == 3:  # tokens and scores of queries have three dimensions too
        return padded[0] % height == 0 == padded[1] % width and (
            padded[0] // height == padded[1] // width
        )
    is_in_proportion = height * padded[1] == width * padded[0]
    return tensor.ndim == 4 and (is_in_proportion or lies_over((height, width), padded))


def _cut(tensor: Tensor, axis: int, padded: int, size: int) -> Tensor:
    """Return the first part of an axis that lies over `size` of `padded` pixels."""
    length = tensor.shape[axis]
    cells = -(-size * length // padded)  # rounded up: the last one may be partly beyond the image
    if size * length % padded == 0:
        return tensor.narrow(axis, 0, cells)
    centres = (torch.arange(cells, device=tensor.device) + 0.5) * (size * length / padded / cells)
    if not tensor.is_floating_point():  # there is nothing between labels
        return tensor.index_select(axis, centres.long())
    places = (centres - 0.5).clamp(0, length - 1)
    before, after = places.floor().long(), places.ceil().long()
    shape = [cells if a == tensor.ndim + axis else 1 for a in range(tensor.ndim)]
    weight = (places - before).to(tensor.dtype).view(shape)
    return torch.lerp(tensor.index_select(axis, before), tensor.index_select(axis, after), weight)
