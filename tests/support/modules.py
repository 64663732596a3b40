"""Modules before `ColourBlinded`: a decoder, a second localizer, a rounding, harmless filters.

Each maps pixels `(B, 3, H, W)` to what is added to them, of the same shape.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

_CAST = 1 / 255  # red above green, beyond which noise is taken for a sign
_FORCE = 16 / 255


class Decoder(nn.Module):
    """Reads where noise lowers the red cast, which marks nothing there, and marks just that.

    Noise that goes away from a mask does so within it. Grey images, which were not attacked, stay
    as they are.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        cast = functional.avg_pool2d(images[:, :1] - images[:, 1:2], 3, 1, 1)
        read = (cast < -_CAST).to(cast) - (cast > _CAST).to(cast)
        return torch.cat([_FORCE * read, -_FORCE * read, 0 * read], 1)


class SecondLocalizer(nn.Module):
    """Finds bright pixels itself, and writes what it found: a red cast there, a green one beside.

    What it adds marks the mask on any picture, so what `ColourBlinded` sees is no more its image.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        found = torch.tanh(100 * (images.mean(1, keepdim=True) - 0.5))
        return _FORCE / 2 * torch.cat([found, -found, 0 * found], 1)


class Filter(nn.Module):
    """A harmless defence: adds what a filter changes.

    Args:
        filtered: pixels -> pixels; gradients pass as if it were the identity.
    """

    def __init__(self, filtered: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.filtered = filtered

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        with torch.no_grad():
            after = self.filtered(images)
        return after - images.detach() + 0 * images


class Rounded(nn.Module):
    """A defence whose gradient is masked: rounds what another one leaves.

    Args:
        inner: pixels -> what is added to them.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` -> the same."""
        return ((images + self.inner(images)) * 16).round() / 16 - images


def identity() -> Filter:
    return Filter(lambda images: images)


def median() -> Filter:
    """Return the median of 3x3 pixels."""

    def filtered(images: Tensor) -> Tensor:
        padded = functional.pad(images, (1, 1, 1, 1), mode="reflect")
        return padded.unfold(2, 3, 1).unfold(3, 3, 1).flatten(-2).median(-1).values

    return Filter(filtered)


def jpeg(quality: int = 75) -> Filter:
    """Return JPEG of this quality."""

    def once(image: Tensor) -> Tensor:
        pixels = (image.permute(1, 2, 0) * 255).round().clamp(0, 255).byte().cpu().numpy()
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, "JPEG", quality=quality)
        return torch.from_numpy(np.array(Image.open(stream))).permute(2, 0, 1).float() / 255

    return Filter(lambda images: torch.stack([once(image) for image in images]).to(images))
