"""Which sizes of images a localizer takes, seen by trying a few."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from ansm_plugin.localizer.probe import takes

_LARGEST_STRIDE = 128  # pixels


class Sizes(NamedTuple):
    """What a localizer takes, as `LocalizerSpec` has it; `stride` and `smallest` in pixels."""

    stride: int = 1
    smallest: int = 1
    square: bool = False


def probed_sizes(localizer: nn.Module, side: int) -> Sizes:
    """Return the smallest stride for which a localizer answers without an error.

    What it answers is not looked at: a size that the localizer takes is never padded, so that a
    fresh wrap changes no bit there.

    Args:
        localizer: in any mode; nothing of it changes.
        side: in pixels, of square images that it takes; where it takes no others, that is the
            stride and the smallest size, as of encoders of fixed size.
    """
    strides = [n for n in range(1, min(side, _LARGEST_STRIDE) + 1) if side % n == 0]
    for stride in strides:
        # Odd multiples of the stride where it is even, which a larger one would refuse.
        if takes(localizer, side + stride, side + 3 * stride):
            return Sizes(stride)
    for stride in strides:
        if takes(localizer, side + stride, side + stride):
            return Sizes(stride, square=True)
    return Sizes(side, side)
