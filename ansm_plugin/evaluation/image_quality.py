"""How visible a change of an image is: PSNR and SSIM of torchmetrics, one value per image.

They serve adversarial noise (attacked against original) and the defensive perturbation (suppressed
against what the module was given) alike. torchmetrics is imported where it is used: it is slow to
import.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.errors import ImageError

_WINDOW = 11  # pixels on each side of the Gaussian window of SSIM (Wang et al., 2004)


def psnr_scores(changed: Tensor, images: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB; infinite where nothing changed.

    Shape: two `(B, 3, H, W)` in [0, 1] -> `(B,)`, fp64.

    Raises:
        ImageError: the shapes differ or are no images.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio

    _require_matching(changed, images)
    if not len(images):
        return torch.zeros(0, dtype=torch.float64)
    scores: Tensor = peak_signal_noise_ratio(
        changed.detach().double().cpu(),
        images.double().cpu(),
        data_range=1.0,
        reduction="none",
        dim=(1, 2, 3),
    )
    return scores


def ssim_scores(changed: Tensor, images: Tensor) -> Tensor:
    """Return the structural similarity of each image; 1 where nothing changed.

    Exact to 1e-4, by fp32. Images smaller than its window of 11 pixels are continued by their edge.

    Shape: two `(B, 3, H, W)` in [0, 1] -> `(B,)` up to 1, fp64.

    Raises:
        ImageError: the shapes differ or are no images.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    _require_matching(changed, images)
    if not len(images):
        return torch.zeros(0, dtype=torch.float64)
    scores = structural_similarity_index_measure(
        _windowed(changed.detach()), _windowed(images), data_range=1.0, reduction="none"
    )
    assert isinstance(scores, Tensor)  # a tuple only where the full map is asked for
    return scores.double()


def _windowed(images: Tensor) -> Tensor:
    """Return images at least as large as the window."""
    height, width = images.shape[-2:]
    missing = (0, max(0, _WINDOW - width), 0, max(0, _WINDOW - height))
    padded = functional.pad(images.float().cpu(), missing, mode="replicate")
    # Its grouped convolution takes 100 times as long in fp64 with channels first.
    return padded.to(memory_format=torch.channels_last)


def _require_matching(changed: Tensor, images: Tensor) -> None:
    if changed.shape != images.shape or images.ndim != 4:
        raise ImageError(
            f"changed images have shape {tuple(changed.shape)}, the originals "
            f"{tuple(images.shape)}; both must be the same (B, 3, H, W)."
        )
