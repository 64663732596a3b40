"""How far a mean over images can be trusted."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError


def bootstrap_interval(
    values: Tensor, *, seed: int, level: float = 0.95, draws: int = 1000
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over images.

    Args:
        values: `(B,)`; NaN are left out. Without any value both ends are NaN.
        seed: decides the resampling.
        level: share of the resampled means within the interval, in (0, 1).
        draws: number of resampled means.

    Raises:
        ConfigError: level or draws out of range.
    """
    if not 0 < level < 1 or draws < 1:
        raise ConfigError(f"level {level} must be in (0, 1) and draws {draws} at least 1.")
    kept = values.detach().double().cpu()
    kept = kept[~kept.isnan()]
    if not len(kept):
        return math.nan, math.nan
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(len(kept), (draws, len(kept)), generator=generator)
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = kept[chosen].mean(1).quantile(ends).tolist()
    return low, high
