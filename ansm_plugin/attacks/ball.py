"""The set an attack may search: a ball around the images, cut to pixels and to a region.

A ball knows how to start, step, project and round; the attacks know nothing of norms. All methods
are pure: they return new tensors of shape `(B, 3, H, W)` in [0, 1].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.attacks.seeds import Source, each, uniform
from ansm_plugin.errors import ConfigError, ImageError

Norm = Literal["linf", "l2"]
Region = Literal["everywhere", "forged", "patch"]


@dataclass(frozen=True)
class Ball(ABC):
    """Images that are near enough to `images`.

    Attributes:
        images: centres, `(B, 3, H, W)` in [0, 1].
        radius: `(B or 1, 1, 1, 1)` in pixel units; what it bounds is said by the subclass.
        region: `(B, 1, H, W)` in {0, 1}: where noise is allowed; None is everywhere.
    """

    images: Tensor
    radius: Tensor
    region: Tensor | None = None

    def start(self, generator: Source) -> Tensor:
        """Return a random point of the ball."""
        noise = uniform(self.images.shape, generator, self.images.dtype)
        return self._cut(self._spread(2 * noise.to(self.images.device) - 1)).clamp(0, 1)

    @abstractmethod
    def move(self, points: Tensor, gradient: Tensor, share: float | Tensor) -> Tensor:
        """Return the points one step of `share` radii up the gradient, not yet projected."""

    @abstractmethod
    def project(self, points: Tensor) -> Tensor:
        """Return the nearest points that are allowed."""

    @abstractmethod
    def round(self, points: Tensor) -> Tensor:
        """Return 8-bit images in the ball: an attack that works in float only is not an image."""

    @abstractmethod
    def _spread(self, noise: Tensor) -> Tensor:
        """Return images + noise, `noise` in [-1, 1] scaled to the ball."""

    def _cut(self, points: Tensor) -> Tensor:
        """Return `points` with the images themselves outside the region."""
        return points if self.region is None else torch.where(self.region > 0, points, self.images)


class LinfBall(Ball):
    """No value changes by more than the radius."""

    def move(self, points: Tensor, gradient: Tensor, share: float | Tensor) -> Tensor:
        return self._cut(points + share * self.radius * gradient.sign())

    def project(self, points: Tensor) -> Tensor:
        low, high = self.images - self.radius, self.images + self.radius
        return self._cut(torch.minimum(torch.maximum(points, low), high).clamp(0, 1))

    def round(self, points: Tensor) -> Tensor:
        low = _to_8_bit((self.images - self.radius).clamp(0, 1), torch.ceil)
        high = _to_8_bit((self.images + self.radius).clamp(0, 1), torch.floor)
        rounded = _to_8_bit(points, torch.round)
        inside = torch.minimum(torch.maximum(rounded, low), high)
        # Around a value between two levels a small ball holds none: then the nearest.
        return self._cut(torch.where(low > high, rounded, inside))

    def _spread(self, noise: Tensor) -> Tensor:
        return self.images + self.radius * noise


class L2Ball(Ball):
    """The root mean square change of an image's values is at most the radius.

    So `radius * sqrt(3 H W)` bounds the l2 norm: the radius is in grey levels like that of
    `LinfBall`, whose images it holds, and means the same PSNR at every image size. With a region
    the mean is still over the whole image.
    """

    def move(self, points: Tensor, gradient: Tensor, share: float | Tensor) -> Tensor:
        if self.region is not None:
            gradient = gradient * self.region
        return self._cut(points + share * self.radius * gradient / _rms(gradient))

    def project(self, points: Tensor) -> Tensor:
        noise = self._cut(points) - self.images
        return (self.images + noise * (self.radius / _rms(noise)).clamp_max(1)).clamp(0, 1)

    def round(self, points: Tensor) -> Tensor:
        noise = points - self.images
        limit = self.radius + _SLACK
        for _ in range(8):
            rounded = self._cut(_to_8_bit(self.images + noise, torch.round))
            excess = _rms(rounded - self.images) / self.radius.clamp_min(_SLACK)
            # A little further than needed: rounding moves in whole grey levels.
            noise = torch.where(excess > 1, noise * 0.99 / excess, noise)
        toward = (255 * noise).trunc() / 255  # never longer than the noise
        shorter = self._cut(_to_8_bit(self.images + toward, torch.round))
        return torch.where(_rms(rounded - self.images) <= limit, rounded, shorter)

    def _spread(self, noise: Tensor) -> Tensor:
        return self.images + self.radius * noise / _rms(noise)


_BALLS: dict[str, type[Ball]] = {"linf": LinfBall, "l2": L2Ball}
_SLACK = 1e-6


def ball(
    images: Tensor, eps: float | Tensor, norm: Norm = "linf", region: Tensor | None = None
) -> Ball:
    """Return the ball of radius `eps` around images.

    Args:
        images: `(B, 3, H, W)` in [0, 1].
        eps: radius in pixel units (8 grey levels are 8 / 255), or one per image `(B,)`.
        norm: "linf" or "l2" (`eps` is then the root mean square change).
        region: `(B or 1, 1, H, W)`: noise is allowed where it is above 0.

    Raises:
        ConfigError: an unknown norm, a radius that is negative or above 1, or other than one
            number or one per image.
        ImageError: a region of another size than the images.
    """
    if norm not in _BALLS:
        raise ConfigError(f"norm is {norm!r}; allowed: {', '.join(_BALLS)}.")
    images = images.detach().float()
    radius = _radius(eps, images)
    if region is not None:
        if region.ndim != 4 or region.shape[1] != 1 or region.shape[-2:] != images.shape[-2:]:
            raise ImageError(
                f"region has shape {tuple(region.shape)}; images of shape {tuple(images.shape)} "
                f"need {(len(images), 1, *images.shape[-2:])}."
            )
        region = (region.to(images.device) > 0).to(images.dtype)
    return _BALLS[norm](images, radius, region)


def _radius(eps: float | Tensor, images: Tensor) -> Tensor:
    """Return the radius of each image, `(B or 1, 1, 1, 1)`."""
    try:
        radius = torch.as_tensor(eps, dtype=images.dtype, device=images.device).detach()
    except (RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"eps is {eps!r}; allowed: a number in pixel units, such as 8 / 255, or one per image."
        ) from error
    if radius.numel() not in (1, len(images)):
        raise ConfigError(
            f"eps has shape {tuple(radius.shape)} and there are {len(images)} images; allowed: one "
            "number, or one per image (B,)."
        )
    radius = radius.reshape(-1, 1, 1, 1)
    if not bool(((radius >= 0) & (radius <= 1)).all()):
        raise ConfigError(
            f"eps is {eps}; allowed: 0 to 1 in pixel units. Divide grey levels by 255."
        )
    return radius


def draw_region(kind: Region, masks: Tensor, generator: Source = None) -> Tensor | None:
    """Return where noise is allowed, `(B, 1, H, W)` in {0, 1}; None is everywhere.

    "forged" is the forged area and 1/32 of the image's longer side around it, where a forger works
    anyway; "patch" a square of half the shorter side, drawn per image.
    """
    if kind == "everywhere":
        return None
    height, width = masks.shape[-2:]
    if kind == "forged":
        reach = max(height, width) // 32
        return functional.max_pool2d(masks.float(), 2 * reach + 1, stride=1, padding=reach)
    side = max(1, min(height, width) // 2)
    region = torch.zeros(masks.shape, dtype=torch.float32, device=masks.device)
    for image, own in zip(region, each(len(region), generator), strict=True):
        top = int(torch.randint(height - side + 1, (), generator=own))
        left = int(torch.randint(width - side + 1, (), generator=own))
        image[:, top : top + side, left : left + side] = 1
    return region


def _rms(noise: Tensor) -> Tensor:
    """Return the root mean square per image, `(B, 1, 1, 1)`, never 0: safe to divide by."""
    return noise.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-20)


def _to_8_bit(images: Tensor, rounding: Callable[[Tensor], Tensor]) -> Tensor:
    # The small slack keeps a value that is a whole grey level up to float error at that level.
    slack = -1e-3 if rounding is torch.ceil else 1e-3 if rounding is torch.floor else 0.0
    return rounding(images * 255 + slack).clamp(0, 255) / 255
