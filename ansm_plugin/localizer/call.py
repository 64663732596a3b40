"""How to call a localizer on pixels of any size.

Shape suffixes: B batch, H height, W width (pixels).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.errors import ImageError, LocalizerError
from ansm_plugin.localizer.modes import autocast, dtype_of
from ansm_plugin.localizer.output import crop_output
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.wrappers import through_wrappers

# Pixels `(B, 3, H, W)` in [0, 1] -> logits of tampering `(B, 1, H, W)`, fp32.
Forward = Callable[[Tensor], Tensor]
# Pixels `(B, 3, H, W)` in [0, 1] -> what is added to them, the same shape in pixel units.
Perturb = Callable[[Tensor], Tensor]

_OURS = "inputs"  # what `DefendedLocalizer.forward` calls the image


class Asked(NamedTuple):
    """One call of a localizer: the image, and what calls the localizer on another one instead."""

    inputs: Any
    answer: Callable[[Tensor], Any]


def asked(
    localizer: nn.Module, inputs: Any, others: tuple[Any, ...], named: Mapping[str, Any]
) -> Asked:
    """Return what a call is about: the image comes first, or under its keyword.

    The keyword is the localizer's own name of its first parameter, such as `pixel_values`; or
    `inputs`. Every other argument goes to the localizer as it is.

    Args:
        localizer: that is asked.
        inputs: the first positional argument; None where there is none.
        others: positional arguments behind it.
        named: arguments by keyword.

    Raises:
        ImageError: no image, neither first nor by keyword.
    """
    if inputs is not None:
        return Asked(inputs, lambda image: localizer(image, *others, **named))
    own = first_parameter(localizer)
    keyword = own if own is not None and own in named else _OURS
    if keyword not in named:
        known = " or ".join(f"{name}=" for name in dict.fromkeys((own, _OURS)) if name)
        raise ImageError(
            f"a defended localizer was given no image{_outline(named)}; give it first, or by "
            f"keyword as {known}."
        )
    rest = {name: value for name, value in named.items() if name != keyword}
    if keyword == own:  # as the user does it: some take keywords alone
        return Asked(named[keyword], lambda image: localizer(**{keyword: image}, **rest))
    return Asked(named[keyword], lambda image: localizer(image, **rest))


def first_parameter(localizer: nn.Module) -> str | None:
    """Return what a localizer calls its first parameter; None where it has no name for it."""
    parameters = inspect.signature(through_wrappers(localizer).forward).parameters.values()
    first = next(iter(parameters), None)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return first.name if first is not None and first.kind in named else None


def call_padded(
    localizer: Callable[[Tensor], Any],
    inputs: Tensor,
    stride: int,
    smallest: int = 1,
    *,
    square: bool = False,
) -> Any:
    """Call `localizer` on inputs of any size: pad where it needs that, crop every spatial output.

    Reflects at the right and bottom edge, replicates where the image is too small to reflect. Maps
    of a fraction of the padded size are cropped in proportion: see `maps.cut_to_image`.

    Args:
        localizer: takes the inputs and returns whatever it returns.
        inputs: `(B, 3, H, W)` in the localizer's input range.
        stride: height and width are padded to a multiple of this many pixels,
        smallest: and to at least this many,
        square: and to the same number both ways.
    """
    padded = _padded(inputs, stride, smallest, square)
    if padded is inputs:
        return localizer(inputs)
    height, width = inputs.shape[-2:]
    return crop_output(localizer(padded), padded.shape[-2:], (height, width))


def mask_forward(
    localizer: nn.Module,
    spec: LocalizerSpec,
    *,
    precision: str = "fp32",
    layout: torch.memory_format = torch.channels_last,
) -> Forward:
    """Return pixels `(B, 3, H, W)` in [0, 1] -> tamper logits `(B, 1, H, W)`, fp32, any size.

    Serves a bare and a defended localizer alike.

    Args:
        localizer: in eval mode.
        spec: how to talk to it.
        precision: "fp32", or "bf16" to run it under autocast.
        layout: of the localizer's input in memory.

    Raises:
        LocalizerError: when called, the localizer itself fails on images of this size.
    """

    def forward(pixels: Tensor) -> Tensor:
        inputs = spec.normalise(pixels).to(memory_format=layout)
        if (dtype := dtype_of(localizer)) is not None:  # in half or double precision as it is
            inputs = inputs.to(dtype)
        padded = _padded(inputs, spec.stride, spec.smallest, spec.square)
        with autocast(pixels.device, to_bf16=precision == "bf16"):
            try:
                output = localizer(padded)
            except (RuntimeError, AssertionError, ValueError) as error:
                raise LocalizerError(_cannot_take(localizer, pixels, error)) from error
        # Cropped last: a mask of a quarter of the size is a quarter of the padded image.
        logits = spec.mask_logits(output, (padded.shape[-2], padded.shape[-1]))
        return logits[..., : pixels.shape[-2], : pixels.shape[-1]]

    return forward


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


def require_inputs(inputs: Tensor, home: torch.device | None) -> None:
    """Raise unless a defended localizer can take `inputs`: a finite `(B, 3, H, W)` tensor.

    Args:
        inputs: in the localizer's input range.
        home: device of the defended localizer; None where it has none.

    Raises:
        ImageError: another shape or type, or NaN or infinite values.
        LocalizerError: it is on another device.
    """
    if not isinstance(inputs, Tensor) or inputs.ndim != 4 or inputs.shape[1] != 3:
        given = tuple(inputs.shape) if isinstance(inputs, Tensor) else type(inputs).__name__
        raise ImageError(f"a defended localizer was given {given}; it takes a tensor (B, 3, H, W).")
    if not inputs.is_floating_point():  # what is added would be rounded away
        raise ImageError(
            f"a defended localizer was given {inputs.dtype}; it takes floating-point numbers in "
            "the localizer's input range. Divide 8-bit pixels by 255 and normalise them."
        )
    if home is not None and inputs.device != home:
        raise LocalizerError(
            f"the image is on {inputs.device}, the defended localizer on {home}; "
            "move one of them with .to(device)."
        )
    # Data-dependent checks cannot be traced or compiled, and would stall nothing but those.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        return
    if inputs.is_cuda and torch.cuda.is_current_stream_capturing():
        return
    try:
        is_finite = bool(torch.isfinite(inputs).all())
    except RuntimeError:  # no value to read: on the meta device, or a batch of torch.func.vmap
        return
    if not is_finite:
        raise ImageError("the image holds NaN or infinite values; give finite numbers.")


def _cannot_take(localizer: nn.Module, pixels: Tensor, error: Exception) -> str:
    height, width = pixels.shape[-2:]
    said = str(error).rstrip(".") or type(error).__name__
    return f"the localizer {type(localizer).__name__} failed on {width}x{height} pixels: {said}."


def _outline(named: Mapping[str, Any]) -> str:
    return f", but {', '.join(named)}" if named else ""


def _padded(inputs: Tensor, stride: int, smallest: int, square: bool) -> Tensor:
    """Return the inputs at a size the localizer takes; the same object where they have one."""
    height, width = inputs.shape[-2:]
    if square:
        smallest = max(height, width, smallest)
    right, bottom = (_missing_pixels(n, stride, smallest) for n in (width, height))
    if not right and not bottom:
        return inputs
    mode = "reflect" if right < width and bottom < height else "replicate"
    return functional.pad(inputs, (0, right, 0, bottom), mode=mode)


def _missing_pixels(length: int, stride: int, smallest: int) -> int:
    """Return how many pixels bring `length` to a multiple of `stride`, at least `smallest`."""
    enough = max(length, smallest)
    return enough - length + -enough % stride
