"""Where forged content comes from: another photograph, another place, or its surroundings."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ansm_plugin.data.blur import blurred
from ansm_plugin.data.pixels import Floats, Mask, Pixels, Rng


def _splice(host: Floats, photographs: Sequence[Pixels], mask: Mask, rng: Rng) -> Floats:
    return random_crop(pick_photograph(photographs, rng), len(mask), rng).astype(np.float32)


def _copy_move(host: Floats, photographs: Sequence[Pixels], mask: Mask, rng: Rng) -> Floats:
    size = len(mask)
    shift = tuple(int(s) for s in rng.integers(size // 4, 3 * size // 4 + 1, 2))
    return np.roll(host, shift, axis=(0, 1))


def _removal(host: Floats, photographs: Sequence[Pixels], mask: Mask, rng: Rng) -> Floats:
    """Fill the region from its surroundings by normalised blurring, as simple inpainting does."""
    known = 1.0 - mask.astype(np.float32)
    filled, weight = host * known[..., None], known
    for sigma in (2.0, 4.0, 8.0, 16.0):
        smooth = blurred(filled, sigma)
        total = blurred(weight[..., None], sigma)
        hole = weight < 0.5
        ready = hole & (total[..., 0] > 0.05)
        filled[ready] = (smooth / np.maximum(total, 1e-3))[ready]
        weight = np.where(ready, 1.0, weight).astype(np.float32)
    filled[weight < 0.5] = host.mean((0, 1))
    return filled


KINDS: dict[str, Callable[[Floats, Sequence[Pixels], Mask, Rng], Floats]] = {
    "splice": _splice,
    "copy_move": _copy_move,
    "removal": _removal,
}


def pick_photograph(photographs: Sequence[Pixels], rng: Rng) -> Pixels:
    """Draw a photograph in proportion to its area, so that every pixel is equally likely."""
    return photographs[pick_number(photographs, rng)]


def pick_number(photographs: Sequence[Pixels], rng: Rng) -> int:
    """Draw the number of a photograph, as `pick_photograph` draws the photograph."""
    areas = np.array([p.shape[0] * p.shape[1] for p in photographs], dtype=np.float64)
    return int(rng.choice(len(photographs), p=areas / areas.sum()))


def random_crop(photograph: Pixels, size: int, rng: Rng) -> Pixels:
    """Return a random square `(size, size, 3)` of a photograph that is no smaller."""
    top = int(rng.integers(photograph.shape[0] - size + 1))
    left = int(rng.integers(photograph.shape[1] - size + 1))
    return photograph[top : top + size, left : left + size]
