"""A mask beside an image of which EXIF turns one alone: which way it lies."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ansm_plugin.data.masks import TURNED, Remarks, mask_of
from ansm_plugin.data.pixels import Mask
from ansm_plugin.data.read import Upright, require_size
from ansm_plugin.errors import ImageError


def mask_as_turned(
    found: Upright,
    orientation: int,
    size: tuple[int, ...],
    files: tuple[Path, Path],
    remarks: Remarks,
) -> Mask:
    """Return the mask `(H, W)` in {0, 1} of an image that EXIF has turned, or not.

    Args:
        found: the mask's file, turned as its own EXIF says.
        orientation: 1 to 8, by which the image was turned.
        size: (H, W) of the image when it is upright.
        files: image and mask, for messages.
        remarks: receives what is unusual about the mask.

    Raises:
        ImageError: it is of another size, no mask, or it is not certain how it lies.
    """
    image, file = files
    expected = (size[0], size[1])
    is_one_turned = (orientation == 1) != (found.orientation == 1)
    stored = (found.image.height, found.image.width)
    if not is_one_turned or stored not in (expected, expected[::-1]):
        require_size(found.image, file, expected)
        return mask_of(found.image, file, remarks, is_lossy=found.is_lossy)
    as_it_is = mask_of(found.image, file, remarks, is_lossy=found.is_lossy)
    # The other reading: drawn on the pixels as they are stored, or with EXIF that is not its own.
    other = (
        _turned(as_it_is, orientation)
        if found.orientation == 1
        else _turned(as_it_is, _BACK.get(found.orientation, found.orientation))
    )
    fitting = [mask for mask in (as_it_is, other) if mask.shape == expected]
    if not fitting:
        require_size(found.image, file, expected)
    if len(fitting) > 1 and not np.array_equal(as_it_is, other):
        raise ImageError(
            f"EXIF turns {'image' if found.orientation == 1 else 'mask'} of the pair {image} "
            f"and {file} (orientation {max(orientation, found.orientation)}) and not the "
            "other one, so that it is not certain which pixels are forged. Save both upright, "
            "without an orientation (`mogrify -auto-orient FILE`)."
        )
    if fitting[0] is other:
        remarks.note(TURNED, file)
    return np.ascontiguousarray(fitting[0])


_BACK = {6: 8, 8: 6}  # the orientation that undoes one; the others undo themselves


def _turned(mask: Mask, orientation: int) -> Mask:
    """Return a mask `(H, W)` turned as EXIF says to turn what is stored."""
    if orientation in (5, 6, 7, 8):
        mask = mask.T
    if orientation in (2, 3, 6, 7):
        mask = mask[:, ::-1]
    if orientation in (3, 4, 7, 8):
        mask = mask[::-1]
    return mask
