"""How far means over images, and what follows from them, can be trusted: a bootstrap of sources.

Crops of one photograph resemble one another, so many of them say little more than one. What is
drawn anew is therefore the source (the photograph) with all of its images, not the image (Davison
and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.metrics.defence import MIN_DAMAGE

FEWEST_SOURCES = 3  # below which resampling them tells nothing of the next one
_DRAWS = 1000
_UNDEFINED = (math.nan, math.nan)


def bootstrap_interval(
    values: Tensor,
    sources: Tensor | None = None,
    *,
    seed: int,
    level: float = 0.95,
    draws: int = _DRAWS,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of the mean over images.

    Args:
        values: `(B,)`; NaN are left out. Without any value both ends are NaN.
        sources: `(B,)`, any numbers: images of equal ones come from one photograph. Below
            `FEWEST_SOURCES` of them both ends are NaN. None takes each image for a source of its
            own, however few they are.
        seed: decides the resampling.
        level: share of the resampled means within the interval, in (0, 1).
        draws: number of resampled means.

    Raises:
        ConfigError: level or draws out of range.
        ImageError: not one source for each value.
    """
    _require_options(level, draws)
    kept = ~values.isnan()
    if sources is not None:
        _require_one_each(values, sources)
        if count_sources(sources[kept]) < FEWEST_SOURCES:
            return _UNDEFINED
        sources = sources[kept]
    if not bool(kept.any()):
        return _UNDEFINED
    (means,) = resampled_means(values[kept][None], sources, seed=seed, draws=draws)
    return _ends(means, level)


def harm_interval(
    clean: Tensor, defended: Tensor, sources: Tensor, *, seed: int, draws: int = _DRAWS
) -> tuple[float, float]:
    """Return the 95 % interval of the harm (`defence.harm`).

    Both means are taken over the same resamples, since they are of the same images.

    Args:
        clean: F1 of each original image, bare, `(B,)`.
        defended: F1 of the same images defended.
        sources: as in `bootstrap_interval`; both ends are NaN below `FEWEST_SOURCES`.
        seed: decides the resampling.
        draws: number of resamples.
    """
    return bootstrap_interval(clean - defended, sources, seed=seed, draws=draws)


def recovery_interval(
    clean: Tensor,
    attacked: Tensor,
    defended: Tensor,
    sources: Tensor,
    *,
    seed: int,
    draws: int = _DRAWS,
) -> tuple[float, float]:
    """Return the 95 % interval of the recovery (`defence.recovery`), a ratio of two differences.

    Both ends are NaN below `FEWEST_SOURCES`, and where more resamples than the interval leaves out
    at one end have no recovery, since the attack took nothing there.

    Args:
        clean: F1 of each original image, bare, `(B,)`; images with NaN in any are left out.
        attacked: F1 of the same images attacked, bare.
        defended: F1 of the same images attacked, defended.
        sources: as in `bootstrap_interval`.
        seed: decides the resampling.
        draws: number of resamples.
    """
    values = torch.stack([clean, attacked, defended])
    _require_one_each(clean, sources)
    kept = ~values.isnan().any(0)
    if count_sources(sources[kept]) < FEWEST_SOURCES:
        return _UNDEFINED
    whole, lost, back = resampled_means(values[:, kept], sources[kept], seed=seed, draws=draws)
    damaged = whole - lost >= MIN_DAMAGE
    if float((~damaged).double().mean()) > 0.025:
        return _UNDEFINED
    return _ends(((back - lost) / (whole - lost))[damaged], 0.95)


def resampled_means(
    values: Tensor, sources: Tensor | None = None, *, seed: int, draws: int = _DRAWS
) -> Tensor:
    """Return the means over images of resampled sources; all rows see the same resamples.

    Shape: `(K, B)` without NaN, B at least 1, and `(B,)` -> `(K, draws)`, fp64.
    """
    values = values.detach().cpu().double()
    members = None if sources is None else _members(sources)
    count = values.shape[1] if members is None else int(members.max()) + 1
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randint(count, (draws, count), generator=generator)
    if members is None or count == values.shape[1]:
        return torch.stack([row[chosen].mean(1) for row in values])
    # An image counts the same wherever it comes from: a large source weighs more.
    sizes = torch.bincount(members).double()[chosen].sum(1)
    sums = torch.zeros(len(values), count, dtype=torch.float64).index_add_(1, members, values)
    return torch.stack([row[chosen].sum(1) for row in sums]) / sizes


def count_sources(sources: Tensor) -> int:
    """Return the number of different sources. Shape: `(B,)`."""
    return len({*sources.tolist()})


def _members(sources: Tensor) -> Tensor:
    """Return the number of each image's source, `(B,)` from 0 on, in order of first appearance."""
    numbers: dict[float, int] = {}
    return torch.tensor([numbers.setdefault(s, len(numbers)) for s in sources.tolist()])


def _ends(statistics: Tensor, level: float) -> tuple[float, float]:
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = statistics.quantile(ends).tolist()
    return low, high


def _require_options(level: float, draws: int) -> None:
    if not 0 < level < 1 or draws < 1:
        raise ConfigError(f"level {level} must be in (0, 1) and draws {draws} at least 1.")


def _require_one_each(values: Tensor, sources: Tensor) -> None:
    if values.shape != sources.shape:
        raise ImageError(
            f"{len(values)} values and {len(sources)} sources were given; give one source for "
            "each value."
        )
