"""Masks as products of queries: each query has a class and a region (MaskFormer, Mask2Former).

Shape suffixes: B batch, Q queries, C classes of a mask, H height, W width (cells of the mask).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_CLASSES, _REGIONS = "class_queries_logits", "masks_queries_logits"  # Hugging Face's names
_LEAST = 1e-6  # probabilities are kept this far from 0 and 1, so that logits are finite


def find_queries(output: Any) -> tuple[Tensor, Tensor] | None:
    """Return classes `(B, Q, C + 1)` and regions `(B, Q, H, W)` of an output's queries, or None."""
    if isinstance(output, Tensor):
        return None
    classes, regions = (_entry(output, name) for name in (_CLASSES, _REGIONS))
    if not isinstance(classes, Tensor) or not isinstance(regions, Tensor):
        return None
    return (classes, regions) if (classes.ndim, regions.ndim) == (3, 4) else None


def _entry(output: Any, name: str) -> Any:
    return output.get(name) if isinstance(output, Mapping) else getattr(output, name, None)


def mask_of_queries(classes: Tensor, regions: Tensor) -> Tensor:
    """Return the logits of a mask from the product of classes and regions.

    A pixel's score for a class is the sum over queries of the class's probability times that of
    the region, as in Cheng et al., "Masked-attention Mask Transformer" (2022), section 3. Of
    several classes, the logarithms of these scores are returned: their order and their ratios are
    those of the scores. Of one class, the log-odds that at least one query covers the pixel.

    Args:
        classes: logits `(B, Q, C + 1)`; the last class is "no object".
        regions: logits `(B, Q, H, W)`.

    Returns:
        `(B, C, H, W)`, fp32.
    """
    chances = classes.float().softmax(-1)[..., :-1]
    covers = regions.float().sigmoid()
    if chances.shape[-1] == 1:
        hits = (chances.unsqueeze(-1) * covers).clamp(0, 1 - _LEAST)
        misses = torch.log1p(-hits).sum(1, keepdim=True)  # logarithm: no query covers the pixel
        return torch.log(-torch.expm1(misses) + _LEAST) - misses
    scores = torch.einsum("bqc,bqhw->bchw", chances, covers)
    return torch.log(scores + _LEAST)
