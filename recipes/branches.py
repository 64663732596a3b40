"""Which mask each branch of a training is held to: the truth, or the localizer's own.

The defended localizer shall answer as the bare one answers to the original. Held to the truth
instead, a module learns to localize by itself and writes what it finds into the picture; that is
the paper's reading (arXiv 2506.12871), and stays by name.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ansm_plugin.localizer.call import Forward
from ansm_plugin.recipes.stage import Pairs
from ansm_plugin.training.cache import own_masks
from ansm_plugin.training.targets import independent

BranchTarget = Literal["localizer", "independent", "ground_truth", "mixed"]
_BATCH = 64  # images at once where no gradient is needed


def attacked_masks(target: BranchTarget, truth: Tensor, own: Tensor, codes: Tensor) -> Tensor:
    """Return the masks that attacked images are held to.

    Args:
        target: "ground_truth" and "mixed" take the truth, "localizer" the localizer's own masks,
            "independent" the truth where the noise cannot carry it, else the own ones.
        truth: true masks `(N, 1, S, S)`.
        own: the localizer's own masks of the originals, of the same shape.
        codes: which masks the attacks were told, `(N,)` as in `Told`.
    """
    if target in ("ground_truth", "mixed"):
        return truth
    if target == "localizer":
        return own
    is_free = independent(codes).to(truth.device).view(-1, 1, 1, 1)
    return torch.where(is_free, truth, own)


def both_masks(
    target: BranchTarget, forward: Forward, pairs: Pairs, codes: Tensor | None = None
) -> Tensor:
    """Return the masks of both branches, `(N, 2, S, S)` uint8: attacked, original.

    Args:
        target: as in `attacked_masks`; originals are held to the truth for "ground_truth", else
            to the localizer's own masks.
        forward: pixels -> mask logits of the bare localizer.
        pairs: the crops.
        codes: which masks their attacks were told; None: the truth.
    """
    truth = pairs.masks
    if target == "ground_truth":
        return truth.expand(-1, 2, -1, -1)
    own = clean_masks(forward, pairs.originals)
    told = torch.zeros(len(truth), dtype=torch.uint8) if codes is None else codes
    return torch.cat([attacked_masks(target, truth, own, told), own], dim=1)


def clean_masks(forward: Forward, originals: Tensor) -> Tensor:
    """Return the localizer's own masks of original images.

    Shape: `(N, 3, H, W)` uint8 -> `(N, 1, H, W)` uint8 in {0, 1}.
    """
    parts = [own_masks(forward, part.float().div(255)) for part in torch.split(originals, _BATCH)]
    return torch.cat(parts).to(torch.uint8)


def clean_logits(forward: Forward, originals: Tensor) -> Tensor:
    """Return the localizer's mask logits of original images, to be held beside them in memory.

    Shape: `(N, 3, H, W)` uint8 -> `(N, 1, H, W)` fp16, cut to what that can hold.
    """
    with torch.no_grad():
        parts = [forward(part.float().div(255)) for part in torch.split(originals, _BATCH)]
    return torch.cat(parts).clamp(-6e4, 6e4).half()
