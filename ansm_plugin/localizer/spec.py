"""What we must know of a localizer to stand in front of it.

Shape suffixes: B batch, C classes of a mask, H height, W width (pixels).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.output import find_mask

Activation = Literal["logits", "sigmoid", "softmax"]
ColourOrder = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class LocalizerSpec:
    """How to talk to one localizer.

    Attributes:
        family: name of the family that wrote this spec.
        mean: of each colour channel, red first, subtracted from pixels in [0, 1] to make the input.
        std: of each colour channel, red first, what the input is divided by then.
        normalisation: where mean and std were found.
        colour_order: of the input's channels: "rgb", or "bgr" (MobileViT of Hugging Face).
        activation: what the mask output holds: "logits", or probabilities after "sigmoid" or
            "softmax".
        tamper_class: index of the tampered class where the mask has several.
        mask_key: key, attribute or index of the mask in a structured output; None finds it.
        stride: the localizer takes heights and widths that are multiples of this.
        smallest: heights and widths below this are padded up to it.
        square: it takes square images only (DPT of Hugging Face); others are padded to a square.
        taps: encoder stages for FFA, written as `ansm_plugin.localizer.taps` reads them.
    """

    family: str = "plain"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    normalisation: str = "explicit"
    colour_order: ColourOrder = "rgb"
    activation: Activation = "logits"
    tamper_class: int = 1
    mask_key: str | int | None = None
    stride: int = 1
    smallest: int = 1
    square: bool = False
    taps: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raise ConfigError where a field is out of its range."""
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise ConfigError(
                f"mean {self.mean} and std {self.std} need three numbers each, std above 0."
            )
        if self.stride < 1 or self.smallest < 1:
            raise ConfigError(
                f"stride is {self.stride} and smallest {self.smallest}; both must be 1 or more."
            )
        if self.colour_order not in get_args(ColourOrder):
            raise ConfigError(f"colour_order is {self.colour_order!r}; allowed: rgb, bgr.")

    @property
    def input_range(self) -> dict[str, Any]:
        """How the input is normalised, as records have it: mean, std and their source."""
        return {"mean": self.mean, "std": self.std, "source": self.normalisation}

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` in [0, 1] to the localizer's input range and colour order."""
        return self._ordered((pixels - _column(self.mean, pixels)) / _column(self.std, pixels))

    def denormalise(self, inputs: Tensor) -> Tensor:
        """Map the localizer's input `(B, 3, H, W)` back to pixels, red first; not clamped."""
        ordered = self._ordered(inputs)
        return ordered * _column(self.std, inputs) + _column(self.mean, inputs)

    def normalise_change(self, delta: Tensor) -> Tensor:
        """Map a change of pixels `(B, 3, H, W)` to the change of the localizer's input."""
        return self._ordered(delta / _column(self.std, delta))

    def _ordered(self, image: Tensor) -> Tensor:
        """Return an image with its channels from red first to the input's order, or back."""
        return image if self.colour_order == "rgb" else image.flip(1)

    def mask_logits(self, output: Any, size: tuple[int, int]) -> Tensor:
        """Return the tamper logits `(B, 1, H, W)` in fp32, resized to `size` where they differ.

        Raises:
            LocalizerError: the output holds no mask that this spec can find.
        """
        mask = find_mask(output, self.mask_key, size).float()
        logits = self._tamper_logits(mask)
        if logits.shape[-2:] != size:
            logits = functional.interpolate(logits, size=size, mode="bilinear")
        return logits

    def _tamper_logits(self, mask: Tensor) -> Tensor:
        """Shape: `(B, C, H, W)` or `(B, H, W)` -> `(B, 1, H, W)`."""
        if mask.ndim == 3:
            mask = mask.unsqueeze(1)
        classes = mask.shape[1]
        if classes == 1:
            return mask if self.activation == "logits" else _logit(mask)
        if self.tamper_class >= classes:
            raise LocalizerError(
                f"tamper_class is {self.tamper_class}, but the mask has {classes} channels."
            )
        chosen = mask[:, self.tamper_class].unsqueeze(1)
        if self.activation != "logits":
            return _logit(chosen)
        others = [c for c in range(classes) if c != self.tamper_class]
        return chosen - mask[:, others].logsumexp(1, keepdim=True)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    """Return a number for each colour channel, `(1, 3, 1, 1)` in fp32, where `like` is."""
    if like.is_cuda:  # filled there: a copy makes every pass wait, and no graph captures one
        each = [torch.full((1, 1, 1, 1), v, device=like.device) for v in values]
        return torch.cat(each, dim=1)
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1)


def _logit(probabilities: Tensor) -> Tensor:
    return torch.logit(probabilities, eps=1e-6)
