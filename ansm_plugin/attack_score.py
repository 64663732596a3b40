"""The attack score: does an image look attacked, judged by what the defence does with it.

Fifteen statistics of an image, its defensive perturbation and both masks, in one logistic model
whose coefficients `ansm calibrate` fits. All of it is differentiable, so that an attacker who knows
the score can attack it too: no claim should rest on a score that was not attacked.

Shape suffixes: B batch, F features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.localizer.modes import autocast

FALSE_ALARMS = 0.01  # share of unattacked images, originals and harmless processing, above 0
_LEVELS = 255.0  # grey levels
_STRONG = 8.0  # grey levels that few pixels of an original are moved by
_FLOOR = 1e-4  # where a logarithm begins: an untrained ANSM moves nothing
_RIDGE = 1e-3  # penalty on the weights, as features overlap


class _Statistics:
    """What one batch gives: each method is a feature, `(B,)`.

    Args:
        pixels: `(B, 3, H, W)` in [0, 1].
        delta: defensive perturbation in pixel units, same shape.
        bare: logits of the localizer, `(B, 1, H, W)`.
        defended: logits behind the perturbation, same shape.
    """

    def __init__(self, pixels: Tensor, delta: Tensor, bare: Tensor, defended: Tensor) -> None:
        self._pixels, self._delta = _LEVELS * pixels.float(), _LEVELS * delta.float()
        self._residual, self._noise = _high_pass(self._pixels), _high_pass(self._delta)
        self._before, self._after = torch.sigmoid(bare.float()), torch.sigmoid(defended.float())

    def size(self) -> Tensor:
        """Return the mean change of a pixel."""
        return _log(_mean(self._delta.abs()))

    def red(self) -> Tensor:
        """Return the energy in the first channel."""
        return _log(_rms(self._delta[:, :1]))

    def green(self) -> Tensor:
        """Return the energy in the second channel."""
        return _log(_rms(self._delta[:, 1:2]))

    def blue(self) -> Tensor:
        """Return the energy in the third channel."""
        return _log(_rms(self._delta[:, 2:]))

    def strong(self) -> Tensor:
        """Return the share of pixels moved far; a sigmoid, as a count has no gradient."""
        return _mean(torch.sigmoid(2 * (self._delta.abs() - _STRONG)))

    def peaks(self) -> Tensor:
        """Return how unevenly the perturbation is spread: root mean square over mean."""
        return _log(_rms(self._delta)) - self.size()

    def high(self) -> Tensor:
        """Return the high-pass share of the perturbation."""
        return _rms(self._noise) / _rms(self._delta)

    def colour(self) -> Tensor:
        """Return the share of the perturbation that differs between channels."""
        grey = self._delta.mean(1, keepdim=True)
        return _log(_rms(self._delta - grey)) - _log(_rms(self._delta))

    def texture(self) -> Tensor:
        """Return the high-pass energy of the image itself."""
        return _log(_rms(self._residual))

    def grain(self) -> Tensor:
        """Return the energy of the image's second difference: noise from pixel to pixel."""
        x = self._pixels
        corner = x[..., 1:, 1:] - x[..., :-1, 1:] - x[..., 1:, :-1] + x[..., :-1, :-1]
        return _log(_rms(corner)) if corner.numel() else torch.zeros_like(self.size())

    def cancels(self) -> Tensor:
        """Return the cosine of both high-pass parts: -1 where the image's noise is taken away."""
        return _mean(self._noise * self._residual) / (_rms(self._noise) * _rms(self._residual))

    def moved(self) -> Tensor:
        """Return the mean change of the mask's probability."""
        return _mean((self._before - self._after).abs())

    def overlap(self) -> Tensor:
        """Return the soft intersection over union of both masks; 1 for two empty ones."""
        both = self._before * self._after
        return (_mean(both) + 1e-3) / (_mean(self._before + self._after - both) + 1e-3)

    def doubt(self) -> Tensor:
        """Return the mean entropy of the bare mask."""
        return _entropy(self._before)

    def settled(self) -> Tensor:
        """Return the entropy that the perturbation takes away."""
        return _entropy(self._before) - _entropy(self._after)


FEATURES = tuple(name for name in vars(_Statistics) if not name.startswith("_"))


def features(pixels: Tensor, delta: Tensor, bare: Tensor, defended: Tensor) -> Tensor:
    """Return the statistics of each image, in the order of `FEATURES`.

    Means over pixels, so that no image size is preferred.

    Args:
        pixels: `(B, 3, H, W)` in [0, 1].
        delta: defensive perturbation in pixel units, same shape.
        bare: logits of the localizer, `(B, 1, H, W)`.
        defended: logits behind the perturbation, same shape.

    Returns:
        `(B, F)`, fp32.
    """
    with autocast(pixels.device, to_bf16=False):
        found = _Statistics(pixels, delta, bare, defended)
        return torch.stack([getattr(found, name)() for name in FEATURES], dim=1)


@dataclass(frozen=True, kw_only=True)
class AttackScore:
    """Coefficients of the score: log-odds, shifted so that 0 is the threshold.

    Attributes:
        weights: one per name in `FEATURES`, of the statistics as they are.
        bias: added; `FALSE_ALARMS` of the unattacked images that it was set on are above 0.
    """

    weights: tuple[float, ...]
    bias: float

    def __post_init__(self) -> None:
        """Raise ConfigError unless there is one finite number for each feature."""
        numbers = (*self.weights, self.bias)
        if len(self.weights) != len(FEATURES) or not all(map(math.isfinite, numbers)):
            raise ConfigError(
                f"an attack score was given {len(self.weights)} weights; it needs {len(FEATURES)} "
                "finite ones and a bias. Calibrate again: ansm calibrate."
            )

    def __call__(self, features_BF: Tensor) -> Tensor:
        """Return the score of each image. Shape: `(B, F)` -> `(B,)`, real, 0 at the threshold."""
        weights = torch.tensor(self.weights, dtype=features_BF.dtype, device=features_BF.device)
        return features_BF @ weights + self.bias

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: a weight by the name of its feature, and the bias."""
        return {"weights": dict(zip(FEATURES, self.weights, strict=True)), "bias": self.bias}

    @staticmethod
    def from_dict(fields: Mapping[str, Any], source: object) -> AttackScore:
        """Return what `as_dict` gave.

        Raises:
            WeightsError: other features, or values that are no finite numbers.
        """
        try:
            named = cast(Mapping[str, float], fields["weights"])
            if named.keys() != set(FEATURES):
                raise ValueError(f"its features are {sorted(named)[:3]} ...")
            weights = tuple(float(named[name]) for name in FEATURES)
            return AttackScore(weights=weights, bias=float(fields["bias"]))
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
            ConfigError,
            OverflowError,
        ) as error:
            raise WeightsError(
                f"the attack score in {source} cannot be used ({error}); it is damaged or of "
                "another release. Fit it again: ansm calibrate."
            ) from error


def fit_score(
    unattacked: Sequence[Tensor],
    attacked: Sequence[Tensor],
    held_out: Sequence[Tensor] | None = None,
) -> AttackScore:
    """Return the coefficients that tell attacked from unattacked images best.

    Logistic regression on standardised features, both sides of the same weight in total, and
    within a side each group of the same weight; convex, so that no seed is needed.

    Args:
        unattacked: features `(B, F)` of originals and of each harmless processing.
        attacked: features `(B, F)` of each attack.
        held_out: as `unattacked`, of photographs that the weights do not know: the threshold is set
            on them. None sets it on `unattacked`, whose quantile promises too few false alarms.

    Raises:
        ConfigError: a side is missing, or a feature is not finite.
    """
    sides = [*unattacked], [*attacked]
    if not all(sides) or not all(len(group) for side in sides for group in side):
        raise ConfigError("a score was given no images of one side; it needs both kinds.")
    x = torch.cat([*unattacked, *attacked]).double()
    others = unattacked if held_out is None else held_out
    if not all(bool(group.isfinite().all()) for group in (x, *others)):
        raise ConfigError("a score was given features that are not finite; check the localizer.")
    labels = torch.cat([torch.full((len(g),), float(k)) for k, s in enumerate(sides) for g in s])
    shares = torch.cat([torch.full((len(g),), 0.5 / len(s) / len(g)) for s in sides for g in s])
    mean, scale = x.mean(0), x.std(0).clamp_min(1e-6)
    weights = _logistic((x - mean) / scale, labels.double(), shares.double()) / scale
    clean = torch.cat([torch.as_tensor(group).double() @ weights for group in others])
    return AttackScore(
        weights=tuple(weights.tolist()), bias=-float(clean.quantile(1 - FALSE_ALARMS))
    )


def _logistic(x: Tensor, labels: Tensor, shares: Tensor) -> Tensor:
    """Return the weights of a ridge logistic regression; its bias is left to the threshold."""
    weights = torch.zeros(x.shape[1] + 1, dtype=torch.float64, requires_grad=True)
    search = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        odds = x @ weights[:-1] + weights[-1]
        errors = functional.binary_cross_entropy_with_logits(odds, labels, reduction="none")
        return (shares * errors).sum() + _RIDGE * weights[:-1].square().sum()

    def closure() -> Tensor:
        value = loss()
        (weights.grad,) = torch.autograd.grad(value, weights)
        return value

    with torch.enable_grad():
        search.step(closure)  # type: ignore[no-untyped-call]
    return weights.detach()[:-1]


def _high_pass(images: Tensor) -> Tensor:
    """Return images minus their mean over 3x3 pixels."""
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    return images - functional.avg_pool2d(padded, 3, stride=1)


def _mean(values: Tensor) -> Tensor:
    return values.mean((1, 2, 3))


def _rms(values: Tensor) -> Tensor:
    # The floor keeps the gradient finite where there is nothing.
    return (_mean(values.square()) + _FLOOR**2).sqrt()


def _log(values: Tensor) -> Tensor:
    return (values + _FLOOR).log()


def _entropy(probabilities: Tensor) -> Tensor:
    p = probabilities.clamp(1e-6, 1 - 1e-6)
    return _mean(-(p * p.log() + (1 - p) * (1 - p).log()))
