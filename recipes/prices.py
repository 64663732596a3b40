"""What a defensive perturbation costs, whatever the localizer makes of it.

Held to masks alone, a module is free to write a mask of its own into every picture. A price on
what it adds to originals leaves it nothing to write with; a price on the distance of the suppressed
attacked image from its original makes it undo the noise instead of outvoting it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ansm_plugin.errors import ConfigError

_FAINTEST = 1e-6  # mean square noise below a quarter of a grey level counts as this


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Prices of a stage; a term of weight 0 is left out. Pixels are in [0, 1].

    Attributes:
        original_price: weight of the mean square perturbation of originals; at 300 one grey level
            rms costs 0.005, four cost 0.07. 0 as in the paper.
        original_rms_price: weight of the root of that, which does not fade where little is added.
        alignment: weight of the mean square distance of the suppressed attacked image from the
            original. 0 as in the paper.
        relative_alignment: weight of that distance over the one of the attacked image, so that
            faint noise counts as much as strong.
        alignment_floor_255: grey levels that are added, squared, to the latter: noise far below
            them counts little.
        price_ramp: share of the training over which all of these grow; 0 has them whole at once.
        price_start: the share of them that the ramp begins with.
    """

    original_price: float = 300.0
    original_rms_price: float = 0.0
    alignment: float = 150.0
    relative_alignment: float = 0.0
    alignment_floor_255: float = 0.0
    price_ramp: float = 0.0
    price_start: float = 0.1

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers out of range."""
        require_weights(
            self,
            "original_price",
            "original_rms_price",
            "alignment",
            "relative_alignment",
            "alignment_floor_255",
        )
        require_shares(self, "price_ramp", "price_start")

    def grown(self, done: float) -> float:
        """Return which share of the prices holds after the share `done` of the training."""
        if not self.price_ramp:
            return 1.0
        return min(1.0, self.price_start + (1 - self.price_start) * done / self.price_ramp)


class Views(NamedTuple):
    """A batch before and after the ANSM, in [0, 1].

    Shape: originals `(B, 3, H, W)`; attacked `(kB, 3, H, W)`, version by version in the order of
    the originals; suppressed `((k + 1) B, 3, H, W)`, attacked first.
    """

    originals: Tensor
    attacked: Tensor
    suppressed: Tensor


def priced(prices: Prices, views: Views, done: float) -> Tensor | None:
    """Return the sum of all prices of a batch; None where all weights are 0.

    Args:
        prices: the weights.
        views: the batch.
        done: share of the training that is over.
    """
    terms = []
    count = len(views.attacked)
    if prices.original_price or prices.original_rms_price:
        square = _mean_square(views.suppressed[count:] - views.originals)
        terms += [prices.original_price * square.mean()]
        if prices.original_rms_price:  # 1e-9: the root has a gradient at 0
            terms += [prices.original_rms_price * (square + 1e-9).sqrt().mean()]
    if prices.alignment or prices.relative_alignment:
        originals = views.originals.repeat(count // len(views.originals), 1, 1, 1)
        left = _mean_square(views.suppressed[:count] - originals)
        terms += [prices.alignment * left.mean()]
        if prices.relative_alignment:
            was = _mean_square(views.attacked - originals).clamp_min(_FAINTEST)
            floor = (prices.alignment_floor_255 / 255) ** 2
            terms += [prices.relative_alignment * (left / (was + floor)).mean()]
    return prices.grown(done) * torch.stack(terms).sum() if terms else None


def growing_noise(originals: Tensor, attacked: Tensor, share: float) -> Tensor:
    """Return attacked images with a share of their noise, rounded to 8 bit as files are.

    Shape: two `(B, 3, H, W)` in [0, 1] -> the same.
    """
    if share >= 1:
        return attacked
    return (originals + share * (attacked - originals)).mul(255).round().div(255)


def require_weights(config: Any, *names: str) -> None:
    """Raise ConfigError for fields that are not weights: finite, 0 or more."""
    for name in names:
        if not 0 <= getattr(config, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be 0 or more.")


def require_shares(config: Any, *names: str) -> None:
    """Raise ConfigError for fields that are not shares, from 0 to 1."""
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{name} is {getattr(config, name)}; allowed: 0 to 1.")


def _mean_square(images: Tensor) -> Tensor:
    return images.float().square().mean((1, 2, 3))
