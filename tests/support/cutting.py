"""Localizers that let all of the gradient through, a part of it, or nothing.

Each maps images `(B, 3, H, W)` to logits `(B, 1, H, W)`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

# As timm has it: nothing of the input is guessed.
HALF = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
Way = Callable[[Tensor], Tensor]


class Answered(nn.Module):
    """A convolution, and something that is done to its answer.

    Args:
        way: logits -> logits.
    """

    pretrained_cfg = HALF

    def __init__(self, way: Way = lambda logits: logits) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 5, padding=2)
        self.head = nn.Conv2d(8, 1, 1)
        self.way = way

    def forward(self, images: Tensor) -> Tensor:
        return self.way(self.head(torch.relu(self.stem(images))))


class TwoStreams(Answered):
    """Two equal streams, one of which sees the image through something.

    Args:
        way: images -> images, for the second stream.
    """

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.other = nn.Conv2d(3, 8, 5, padding=2)

    def forward(self, images: Tensor) -> Tensor:
        own = self.head(torch.relu(self.stem(images)))
        return own + self.head(torch.relu(self.other(self.way(images))))


class _Stopped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        return values.clone()


def without_grad(values: Tensor) -> Tensor:
    with torch.no_grad():
        return values * 1


def in_numpy(values: Tensor) -> Tensor:
    """Return the same from a copy in numpy, as JPEG of the host's own does."""
    return torch.from_numpy(values.numpy().copy())


def without_backward(values: Tensor) -> Tensor:
    """Return the same from an operation that has no way back."""
    stopped: Tensor = _Stopped.apply(values)  # type: ignore[no-untyped-call]
    return stopped


def in_place(values: Tensor) -> Tensor:
    """Return something that is written over its own numbers, which the way back would need."""
    made = values.exp()
    made[:] = made.flip(-1).clone()
    return made


def straight_through(values: Tensor) -> Tensor:
    """Round to grey levels, and let the gradient through as it is."""
    pixels = values * 0.5 + 0.5
    return values + ((pixels * 255).round() / 255 - pixels).detach() * 2


CUTS: dict[str, Way] = {
    "detach": Tensor.detach,
    "no_grad": without_grad,
    "numpy": in_numpy,
    "no backward": without_backward,
    "argmax": lambda logits: (logits > 0).float(),
    "in place": in_place,
}
