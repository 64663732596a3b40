"""How visible a change of an image is: PSNR and SSIM, one value per image.

They serve adversarial noise (attacked against original) and the defensive perturbation (suppressed
against what the module was given) alike. torchmetrics, which has the SSIM, is imported where it is
used: it is slow to import.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.metrics.shapes import require_same_shape

_WINDOW = 11  # pixels on each side of the Gaussian window of SSIM (Wang et al., 2004)
# Decibels for a factor of e: 10 / ln 10. In fp32, as torchmetrics has it, so that no bit of ours
# differs from its number.
_DECIBELS = 10 / torch.tensor(10.0).log()
_MOST_PIXELS = 4_000_000  # of an image that is compared at once, which takes 200 bytes for each


def psnr_scores(changed: Tensor, images: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB; infinite where nothing changed.

    Shape: two `(B, 3, H, W)` in [0, 1] -> `(B,)`, fp64.

    Raises:
        ImageError: the shapes differ or are no images.
    """
    require_same_shape(3, changed=changed, originals=images)
    if not len(images):
        return torch.zeros(0, dtype=torch.float64)
    squares = torch.stack(
        [_squares(changed[..., b, :], images[..., b, :]) for b in _bands(images, overlap=0)]
    )
    return -(squares.sum(0) / images[0].numel()).log() * _DECIBELS


def _squares(changed: Tensor, images: Tensor) -> Tensor:
    """Return the sum of squared differences of each image, fp64."""
    difference = changed.detach().cpu().double() - images.cpu().double()  # MPS has no fp64
    return (difference * difference).sum((1, 2, 3))


def ssim_scores(changed: Tensor, images: Tensor) -> Tensor:
    """Return the structural similarity of each image; 1 where nothing changed.

    Exact to 1e-4, by fp32. Images smaller than its window of 11 pixels are continued by their edge.

    Shape: two `(B, 3, H, W)` in [0, 1] -> `(B,)` up to 1, fp64.

    Raises:
        ImageError: the shapes differ or are no images.
    """
    require_same_shape(3, changed=changed, originals=images)
    if not len(images):
        return torch.zeros(0, dtype=torch.float64)
    # torchmetrics averages over the places where the window fits: those of bands that overlap by
    # one row less than the window are those of the whole.
    bands = _bands(images, overlap=_WINDOW - 1)
    places = [band.stop - band.start - _WINDOW + 1 for band in bands]
    scores = [_ssim(changed[..., band, :], images[..., band, :]) for band in bands]
    if len(bands) == 1:
        return scores[0]
    return _mean(scores, places)


def _ssim(changed: Tensor, images: Tensor) -> Tensor:
    from torchmetrics.functional.image import structural_similarity_index_measure

    scores = structural_similarity_index_measure(
        _windowed(changed.detach()), _windowed(images), data_range=1.0, reduction="none"
    )
    assert isinstance(scores, Tensor)  # a tuple only where the full map is asked for
    return scores.cpu().double()


def _mean(values: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
    total = torch.stack([v * w for v, w in zip(values, weights, strict=True)]).sum(0)
    return total / sum(weights)


def _bands(images: Tensor, overlap: int) -> list[slice]:
    """Return rows that are compared at once; all of them except in a photograph of many pixels."""
    height, width = images.shape[-2:]
    if height * width <= _MOST_PIXELS:
        return [slice(0, height)]
    rows = max(4 * _WINDOW, _MOST_PIXELS // (4 * width))
    starts = range(0, max(1, height - overlap), rows - overlap)
    return [slice(start, min(start + rows, height)) for start in starts]


def _windowed(images: Tensor) -> Tensor:
    """Return images at least as large as the window."""
    height, width = images.shape[-2:]
    missing = (0, max(0, _WINDOW - width), 0, max(0, _WINDOW - height))
    padded = functional.pad(images.float(), missing, mode="replicate")
    # Its grouped convolution takes 100 times as long in fp64 with channels first.
    return padded.to(memory_format=torch.channels_last)
