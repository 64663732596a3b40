"""The door of the attacks: what they are given is looked at once, and refused in words.

The same for every attack. It costs a pass over the images and one over the masks, and the device
is asked once.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from ansm_plugin.attacks.behind import has_modes, modules_behind
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.localizer.modes import frozen_eval

_ROUNDING = 1e-5  # how far outside [0, 1] normalising and back may lead


@contextmanager
def attackable(forward: object, stacklevel: int = 3) -> Iterator[None]:
    """Let gradients through inside the block, whatever the caller and the localizer's mode.

    `torch.inference_mode` around the call is left; modules in train mode that `forward` shows (see
    `modules_behind`) are frozen and in eval mode meanwhile, and a warning says so where that
    matters. Who attacks a forward that hides its modules sees to their mode.

    Args:
        forward: pixels -> mask logits.
        stacklevel: of the warning; 3 blames who called the function that holds the `with`.
    """
    training = [m for m in modules_behind(forward) if any(part.training for part in m.modules())]
    if named := ", ".join(type(module).__name__ for module in training if has_modes(module)):
        warnings.warn(
            f"{named} is in train mode, in which the attack would face another network and move "
            "its BatchNorm statistics. It is put in eval mode for this attack; call .eval() first.",
            stacklevel=stacklevel + 1,  # contextlib stands between
        )
    with outside_inference_mode(), frozen_eval(*training) if training else nullcontext():
        yield


@contextmanager
def outside_inference_mode() -> Iterator[None]:
    """Leave the caller's `torch.inference_mode`, in which nothing has a gradient."""
    if not torch.is_inference_mode_enabled():
        yield
        return
    with torch.inference_mode(False), torch.no_grad():
        yield


def ordinary(tensor: Tensor) -> Tensor:
    """Return a tensor that gradients may flow from: a copy if it came from inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor


def require_images(images: Tensor) -> Tensor:
    """Return images without a graph, as fp32.

    Args:
        images: floats `(B, 3, H, W)` in [0, 1], to rounding.

    Raises:
        ImageError: anything else; the message says how to mend it.
    """
    _require_floats(images)
    images = ordinary(images.detach()).float()
    if images.numel():
        _require_range(*torch.stack(images.aminmax()).tolist())
    return images


def require_forgeries(images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return what is attacked, without a graph, as fp32 on the device of the images.

    Args:
        images: floats `(B, 3, H, W)` in [0, 1], to rounding.
        masks: `(B, 1, H, W)` in {0, 1}, of any type.

    Raises:
        ImageError: anything else; the message says how to mend it.
    """
    _require_floats(images)
    _require_one_each(masks, images)
    images, masks = (ordinary(tensor.detach()) for tensor in (images, masks))
    images, masks = images.float(), masks.to(images.device).float()
    if images.numel():  # together, so that the device is asked once
        binary = ((masks == 0) | (masks == 1)).all().to(images.dtype)
        low, high, is_binary = torch.stack([*images.aminmax(), binary]).tolist()
        _require_range(low, high)
        if not is_binary:
            _refuse_values(masks)
    return images, masks


def require_generator(generator: object, images: object = None) -> None:
    """Raise ConfigError unless this is None, a generator of the CPU, or one for each image."""
    if generator is None:
        return
    own = list(generator) if isinstance(generator, list | tuple) else [generator]
    for one in own:
        if not isinstance(one, torch.Generator):
            raise ConfigError(
                f"generator is {one!r}; allowed: None or a torch.Generator, such as "
                "torch.Generator().manual_seed(0), or a list of one for each image."
            )
        if one.device.type != "cpu":
            raise ConfigError(
                f"generator is on {one.device}; attacks draw on the CPU, so that their numbers "
                "are the same on every device. Give torch.Generator().manual_seed(0)."
            )
    is_list = isinstance(generator, list | tuple)
    if is_list and isinstance(images, Tensor) and len(own) != len(images):
        raise ConfigError(
            f"generator holds {len(own)} generators and there are {len(images)} images; give one "
            "for each, or one for all."
        )


def require_start(start: Tensor, images: Tensor) -> Tensor:
    """Return where an attack starts, as the images are.

    It is projected into the ball, so it may lie outside [0, 1] by a radius, which is at most 1.

    Raises:
        ImageError: another shape, or no such pixels.
    """
    if not isinstance(start, Tensor) or start.shape != images.shape:
        given = tuple(start.shape) if isinstance(start, Tensor) else type(start).__name__
        raise ImageError(
            f"start has shape {given}; it needs that of the images, {tuple(images.shape)}."
        )
    if not start.is_floating_point():
        raise ImageError(f"start holds {start.dtype}; give float pixels: start.float() / 255.")
    start = ordinary(start.detach()).to(images)
    if start.numel():
        low, high = torch.stack(start.aminmax()).tolist()
        if not (low >= -1 - _ROUNDING and high <= 2 + _ROUNDING):
            raise ImageError(
                f"start spans [{low:g}, {high:g}]; allowed: finite pixels at most 1 outside "
                "[0, 1]. Divide 8-bit pixels by 255."
            )
    return start


def _require_floats(images: object) -> None:
    if not isinstance(images, Tensor):
        raise ImageError(
            f"images is {type(images).__name__}; allowed: a float tensor (B, 3, H, W) in [0, 1]."
        )
    if images.ndim != 4 or images.shape[1] != 3:
        hint = " Add the batch: images[None]." if images.ndim == 3 else ""
        raise ImageError(f"images has shape {tuple(images.shape)}; allowed: (B, 3, H, W).{hint}")
    if not images.is_floating_point():
        raise ImageError(
            f"images holds {images.dtype}; allowed: floats in [0, 1]. Give images.float() / 255."
        )


def _require_range(low: float, high: float) -> None:
    """Raise ImageError unless pixels from `low` to `high` are finite and in [0, 1]."""
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:  # false for NaN
        return
    if not (low > -float("inf") and high < float("inf")):
        raise ImageError("images holds NaN or infinite values; give finite pixels in [0, 1].")
    remedy = "Divide 8-bit pixels by 255."
    if low < 0:
        remedy = (
            "They look normalised, but attacks work on pixels: give "
            "spec.denormalise(inputs).clamp(0, 1)."
        )
    raise ImageError(f"images spans [{low:g}, {high:g}]; allowed: [0, 1]. {remedy}")


def _require_one_each(masks: object, images: Tensor) -> None:
    expected = (len(images), 1, *images.shape[-2:])
    if not isinstance(masks, Tensor):
        raise ImageError(f"masks is {type(masks).__name__}; allowed: a tensor {expected}.")
    if tuple(masks.shape) == expected:
        return
    hint = ""
    if tuple(masks.shape) == (len(images), *images.shape[-2:]):
        hint = " Give masks.unsqueeze(1)."
    elif masks.ndim == 4 and masks.shape[1] > 1:
        hint = " Choose the channel of the forged class: masks[:, 1:2]."
    raise ImageError(
        f"masks has shape {tuple(masks.shape)}; images of shape {tuple(images.shape)} need "
        f"{expected}.{hint}"
    )


def _refuse_values(masks: Tensor) -> None:
    low, high = torch.stack(masks.aminmax()).tolist()
    remedy = "Give (masks > 0.5)" if 0 <= low <= high <= 1 else "Give (masks > 0)"
    raise ImageError(
        f"masks holds other values than 0 and 1, from {low:g} to {high:g}. {remedy} if that is "
        "where the image is forged."
    )
