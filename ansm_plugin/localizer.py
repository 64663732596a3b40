"""What we must know of a localizer to stand in front of it, and how to call one on pixels.

Shape suffixes: B batch, C channels, H height, W width.
"""

from __future__ import annotations

import copy
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.errors import ConfigError, ImageError, LocalizerError
from ansm_plugin.registry import family_of

Activation = Literal["logits", "sigmoid", "softmax"]
Triple = tuple[float, float, float]
IMAGENET_MEAN: Triple = (0.485, 0.456, 0.406)
IMAGENET_STD: Triple = (0.229, 0.224, 0.225)
_MASK_KEYS = ("pred_mask", "mask", "logits", "out")  # IMDLBenCo, generic, Hugging Face, torchvision


@dataclass(frozen=True, kw_only=True)
class LocalizerSpec:
    """How to talk to one localizer.

    Attributes:
        family: name of the family that wrote this spec.
        mean: per-channel mean that the localizer's input had subtracted, pixels in [0, 1].
        std: per-channel divisor of the localizer's input.
        normalisation: where mean and std were found.
        activation: what the mask output holds: "logits", or probabilities after "sigmoid" or
            "softmax".
        tamper_class: index of the tampered class where the mask has several channels.
        mask_key: key, attribute or index of the mask in a structured output; None finds it.
        stride: the localizer takes heights and widths that are multiples of this.
        smallest: heights and widths below this are padded up to it.
        taps: stages for FFA, as understood by `ansm_plugin.taps`.
    """

    family: str = "plain"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    normalisation: str = "explicit"
    activation: Activation = "logits"
    tamper_class: int = 1
    mask_key: str | int | None = None
    stride: int = 1
    smallest: int = 1
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

    def normalise(self, pixels: Tensor) -> Tensor:
        """Map pixels `(B, 3, H, W)` in [0, 1] to the localizer's input range."""
        return (pixels - _column(self.mean, pixels)) / _column(self.std, pixels)

    def denormalise(self, inputs: Tensor) -> Tensor:
        """Map the localizer's input `(B, 3, H, W)` back to pixels; not clamped."""
        return inputs * _column(self.std, inputs) + _column(self.mean, inputs)

    def mask_logits(self, output: Any, size: tuple[int, int]) -> Tensor:
        """Return the tamper logits `(B, 1, H, W)` in fp32, resized to `size` where they differ.

        Raises:
            LocalizerError: the output holds no mask that this spec can find.
        """
        mask = _find_mask(output, self.mask_key).float()
        logits = self._tamper_logits(mask)
        if logits.shape[-2:] != size:
            logits = functional.interpolate(logits, size=size, mode="bilinear")
        return logits

    def _tamper_logits(self, mask: Tensor) -> Tensor:
        if mask.ndim == 3:
            mask = mask.unsqueeze(1)
        channels = mask.shape[1]
        if channels == 1:
            return mask if self.activation == "logits" else _logit(mask)
        if self.tamper_class >= channels:
            raise LocalizerError(
                f"tamper_class is {self.tamper_class}, but the mask has {channels} channels."
            )
        chosen = mask[:, self.tamper_class].unsqueeze(1)
        if self.activation != "logits":
            return _logit(chosen)
        others = [c for c in range(channels) if c != self.tamper_class]
        return chosen - mask[:, others].logsumexp(1, keepdim=True)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to `localizer`, asked of the first family that knows it."""
    if not isinstance(localizer, nn.Module):
        raise LocalizerError(f"a localizer is a torch.nn.Module; given {type(localizer).__name__}.")
    return family_of(localizer).describe(localizer)


def call_padded(
    localizer: Callable[[Tensor], Any], inputs: Tensor, stride: int, smallest: int = 1
) -> Any:
    """Call `localizer` on inputs of any size: pad where it needs that, crop every spatial output.

    Reflects at the right and bottom edge, replicates where the image is too small to reflect.
    """
    padded = _padded(inputs, stride, smallest)
    if padded is inputs:
        return localizer(inputs)
    height, width = inputs.shape[-2:]
    return _crop(localizer(padded), padded.shape[-2:], (height, width))


def mask_forward(
    localizer: nn.Module, spec: LocalizerSpec, *, precision: str = "fp32"
) -> Callable[[Tensor], Tensor]:
    """Return pixels `(B, 3, H, W)` in [0, 1] -> tamper logits `(B, 1, H, W)`, fp32, any size.

    Serves a bare and a defended localizer alike. `precision` "bf16" runs it under autocast.

    Raises:
        LocalizerError: when called, the localizer itself fails on images of this size.
    """

    def forward(pixels: Tensor) -> Tensor:
        inputs = spec.normalise(pixels).to(memory_format=torch.channels_last)
        padded = _padded(inputs, spec.stride, spec.smallest)
        with torch.autocast(pixels.device.type, torch.bfloat16, enabled=precision == "bf16"):
            try:
                output = localizer(padded)
            except (RuntimeError, AssertionError, ValueError) as error:
                raise LocalizerError(_cannot_take(localizer, pixels, error)) from error
        # Cropped last: a mask of a quarter of the size is a quarter of the padded image.
        logits = spec.mask_logits(output, (padded.shape[-2], padded.shape[-1]))
        return logits[..., : pixels.shape[-2], : pixels.shape[-1]]

    return forward


def fingerprint(localizer: nn.Module) -> str:
    """Return the sha256 of the localizer's state: names, dtypes, shapes and values, in order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(localizer.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def find_normalisation(localizer: nn.Module) -> tuple[Triple, Triple, str]:
    """Return mean, std and where they were found; ImageNet with a warning if nowhere."""
    for name, module in localizer.named_modules():
        config = getattr(module, "pretrained_cfg", None)
        if isinstance(config, Mapping) and "mean" in config and "std" in config:
            where = f"pretrained_cfg of {name or type(module).__name__}"
            return _triple(config["mean"]), _triple(config["std"]), where
    warnings.warn(
        f"{type(localizer).__name__} does not say how its input is normalised; ImageNet mean and "
        "std are assumed. Pass spec=LocalizerSpec(mean=..., std=...) if it was trained otherwise.",
        stacklevel=2,
    )
    return IMAGENET_MEAN, IMAGENET_STD, "assumed ImageNet"


def find_fixed_side(localizer: nn.Module) -> int | None:
    """Return the only side that an encoder of fixed size takes, or None.

    Asked of timm's patch embeddings (ViT, Swin) and, where timm records it, of the whole encoder
    (CoAtNet, MaxViT). Smaller images are padded up to it; larger ones the encoder refuses.
    """
    for module in localizer.modules():
        size = getattr(module, "img_size", None)
        if getattr(module, "strict_img_size", False) and isinstance(size, tuple):
            return int(max(size))
        traits = getattr(module, "_traits", {})
        if isinstance(traits, Mapping) and traits.get("fixed_input_size"):
            config = getattr(module, "pretrained_cfg", None) or {}
            return int(max(traits.get("img_size") or config.get("input_size", (3, 224, 224))[-2:]))
    return None


def require_pixels(pixels: Tensor, name: str = "images") -> None:
    """Raise ImageError unless `pixels` is a finite `(B, 3, H, W)` tensor within [0, 1]."""
    if pixels.ndim != 4 or pixels.shape[1] != 3:
        raise ImageError(f"{name} has shape {tuple(pixels.shape)}; allowed: (B, 3, H, W).")
    if not bool(torch.isfinite(pixels).all()):
        raise ImageError(f"{name} holds NaN or infinite values; give finite pixels in [0, 1].")
    low, high = float(pixels.min()), float(pixels.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"{name} spans [{low:g}, {high:g}]; allowed: [0, 1]. Divide 8-bit pixels by 255."
        )


def _cannot_take(localizer: nn.Module, pixels: Tensor, error: Exception) -> str:
    height, width = pixels.shape[-2:]
    return (
        f"the localizer {type(localizer).__name__} failed on {width}x{height} pixels: "
        f"{str(error).rstrip('.')}."
    )


def _padded(inputs: Tensor, stride: int, smallest: int) -> Tensor:
    """Return the inputs at a size the localizer takes; the same object where they have one."""
    height, width = inputs.shape[-2:]
    right, bottom = (_missing_pixels(n, stride, smallest) for n in (width, height))
    if not right and not bottom:
        return inputs
    mode = "reflect" if right < width and bottom < height else "replicate"
    return functional.pad(inputs, (0, right, 0, bottom), mode=mode)


def _missing_pixels(length: int, stride: int, smallest: int) -> int:
    """Return how many pixels bring `length` to a multiple of `stride`, at least `smallest`."""
    enough = max(length, smallest)
    return enough - length + -enough % stride


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device).view(1, -1, 1, 1)


def _logit(probabilities: Tensor) -> Tensor:
    return torch.logit(probabilities, eps=1e-6)


def _triple(values: Sequence[float]) -> Triple:
    r, g, b = (float(v) for v in values)
    return r, g, b


def _find_mask(output: Any, key: str | int | None) -> Tensor:
    found = _select(output, key)
    if isinstance(found, Tensor) and found.ndim in (3, 4):
        return found
    raise LocalizerError(
        f"no mask found in the localizer's output of type {type(output).__name__}"
        f"{_outline(output)}; allowed: a (B, C, H, W) tensor, alone, first in a tuple, or under "
        f"one of {', '.join(_MASK_KEYS)}. Pass spec=LocalizerSpec(mask_key=...) to name it."
    )


def _select(output: Any, key: str | int | None) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        keys = _MASK_KEYS if key is None else (key,)
        return next((output[k] for k in keys if k in output), None)
    if isinstance(output, tuple | list):
        index = 0 if key is None else key
        return output[index] if isinstance(index, int) and index < len(output) else None
    names = _MASK_KEYS if key is None else (str(key),)
    return next((getattr(output, n) for n in names if hasattr(output, n)), None)


def _outline(output: Any) -> str:
    if isinstance(output, Tensor):
        return f" with shape {tuple(output.shape)}"
    return f" with keys {list(output)}" if isinstance(output, Mapping) else ""


def _crop(output: Any, padded: Sequence[int], size: tuple[int, int]) -> Any:
    if isinstance(output, Tensor):
        is_spatial = output.ndim >= 3 and tuple(output.shape[-2:]) == tuple(padded)
        return output[..., : size[0], : size[1]] if is_spatial else output
    if isinstance(output, Mapping):
        return type(output)({k: _crop(v, padded, size) for k, v in output.items()})  # type: ignore[call-arg]
    if isinstance(output, tuple | list):
        cropped = [_crop(v, padded, size) for v in output]
        is_named = hasattr(output, "_fields")
        return type(output)(*cropped) if is_named else type(output)(cropped)
    return _crop_attributes(output, padded, size) if hasattr(output, "__dict__") else output


def _crop_attributes(output: Any, padded: Sequence[int], size: tuple[int, int]) -> Any:
    """Return a copy of an object whose attributes hold the mask, such as a dataclass."""
    cropped = copy.copy(output)
    for name, value in vars(output).items():
        if isinstance(value, Tensor | Mapping | tuple | list):
            object.__setattr__(cropped, name, _crop(value, padded, size))  # frozen ones too
    return cropped
