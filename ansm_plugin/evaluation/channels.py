"""What happens to an image between attacker and defender (T5): real codecs, 8 bit, no gradient.

Training has differentiable twins, `data.augment.DIFFERENTIABLE`; results are measured with the real
thing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.data.codec import Codec, through_file
from ansm_plugin.errors import ConfigError, unknown_name


class Passed(NamedTuple):
    """Images `(B, 3, H, W)` in [0, 1] and masks `(B, 1, H, W)` behind a channel."""

    images: Tensor
    masks: Tensor


def channel(name: str) -> Callable[[Tensor, Tensor], Passed]:
    """Return the channel of a name such as "jpeg-90": kind, and percent or quality.

    Raises:
        ConfigError: an unknown kind, or a number out of 1 to 100.
    """
    kind, _, number = name.partition("-")
    if kind not in CHANNELS:
        raise ConfigError(unknown_name("channel", kind, CHANNELS))
    if not number.isdecimal() or not 1 <= int(number) <= 100:
        raise ConfigError(f"channel {name!r} needs a number from 1 to 100, such as {kind}-90.")
    return lambda images, masks: CHANNELS[kind](images, masks, int(number))


def _jpeg(images: Tensor, masks: Tensor, quality: int) -> Passed:
    return _coded(images, masks, "JPEG", quality)


def _webp(images: Tensor, masks: Tensor, quality: int) -> Passed:
    return _coded(images, masks, "WEBP", quality)


def _coded(images: Tensor, masks: Tensor, codec: Codec, quality: int) -> Passed:
    def passed(image: Tensor) -> Tensor:
        pixels = image.detach().mul(255).round_().byte().permute(1, 2, 0).cpu().numpy()
        decoded = torch.from_numpy(through_file(pixels, codec, quality))
        return decoded.permute(2, 0, 1).to(image.device).float().div_(255)

    return Passed(torch.stack([passed(image) for image in images]), masks)


def _resize(images: Tensor, masks: Tensor, percent: int) -> Passed:
    """Shrink and enlarge again, so that masks stay as they are."""
    from torch.nn.functional import interpolate

    height, width = images.shape[-2:]
    size = (max(1, height * percent // 100), max(1, width * percent // 100))
    small = interpolate(images, size, mode="bilinear", antialias=True).mul(255).round().div(255)
    back = interpolate(small, (height, width), mode="bilinear").mul(255).round().div(255)
    return Passed(back.clamp(0, 1), masks)


def _crop(images: Tensor, masks: Tensor, percent: int) -> Passed:
    """Cut the middle out of image and mask; an image whose mask is lost counts as it did before."""
    height, width = images.shape[-2:]
    tall, wide = max(1, height * percent // 100), max(1, width * percent // 100)
    top, left = (height - tall) // 2, (width - wide) // 2
    rows, columns = slice(top, top + tall), slice(left, left + wide)
    return Passed(images[..., rows, columns], masks[..., rows, columns])


CHANNELS: dict[str, Callable[[Tensor, Tensor, int], Passed]] = {
    "jpeg": _jpeg,
    "webp": _webp,
    "resize": _resize,
    "crop": _crop,
}
