"""Outlines of things in a photograph, found without labels: what a forger would cut along."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage.segmentation import felzenszwalb

from ansm_plugin.data.pixels import Mask, Pixels

_SIDE = 160  # of the small copy that is segmented: outlines of things, not of leaves
_COARSENESS = 120.0
_FEWEST = 60  # pixels of the small copy; what is smaller is part of a thing
_SMALLEST = 0.002  # share of the photograph that a labelled thing covers
_LARGEST = 0.5  # share of the photograph; what is larger is the background
_FULLEST = 0.4  # least share of its box that a thing fills; what fills less is an edge of something


class Outline(NamedTuple):
    """One thing in a photograph: its box in pixels, and its shape `(h, w)` in {0, 1}."""

    top: int
    left: int
    shape: Mask


def outlines(photograph: Pixels) -> list[Outline]:
    """Return the segments of a photograph `(H, W, 3)` that look like things.

    Left out are specks, backgrounds and slivers. The segmentation is that of Felzenszwalb and
    Huttenlocher (IJCV 2004), by scikit-image, on a small copy; outlines are enlarged to the
    photograph's size.
    """
    height, width = photograph.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = np.asarray(Image.fromarray(photograph).resize(size, Image.Resampling.BOX))
    labels = felzenszwalb(small, scale=_COARSENESS, sigma=0.8, min_size=_FEWEST)
    counts = np.bincount(labels.ravel())
    fitting = np.flatnonzero(counts <= _LARGEST * labels.size)
    found = [_enlarged(labels == label, height, width) for label in fitting]
    return [outline for outline in found if outline.shape.mean() >= _FULLEST]


def labelled(labels: NDArray[np.integer]) -> list[Outline]:
    """Return the outlines that a label map `(H, W)` names: one for each value but 0.

    Left out are specks, backgrounds and slivers, as of segments.
    """
    found = []
    for label in np.unique(labels[labels != 0]):
        segment = labels == label
        rows, columns = np.flatnonzero(segment.any(1)), np.flatnonzero(segment.any(0))
        inside = segment[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        is_thing = _SMALLEST <= segment.mean() <= _LARGEST and inside.mean() >= _FULLEST
        if is_thing:
            found.append(Outline(int(rows[0]), int(columns[0]), inside.astype(np.uint8)))
    return found


def _enlarged(segment: NDArray[np.bool_], height: int, width: int) -> Outline:
    """Return one segment of the small copy as an outline of the whole photograph."""
    rows, columns = np.flatnonzero(segment.any(1)), np.flatnonzero(segment.any(0))
    inside = segment[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    down, across = height / segment.shape[0], width / segment.shape[1]
    size = (max(1, round(inside.shape[1] * across)), max(1, round(inside.shape[0] * down)))
    # Rounded first: enlarged as they are, the small copy's pixels would be steps.
    small = Image.fromarray(inside.astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(1))
    soft = small.resize(size, Image.Resampling.BICUBIC)
    shape: Mask = (np.asarray(soft) > 127).astype(np.uint8)
    return Outline(int(rows[0] * down), int(columns[0] * across), shape)
