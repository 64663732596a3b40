"""Which share of the gradient comes back through a localizer to the image.

Parts that are detached, run under `no_grad` or pass through numpy answer the image, but an attack
does not see how: the localizer looks more robust than it is, and a training learns from the rest.

Shape suffixes: B batch, C channels, H height, W width (pixels).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.modes import device_of, dtype_of
from ansm_plugin.localizer.probe import can_run, untouched
from ansm_plugin.localizer.spec import LocalizerSpec

WHOLE = 0.9  # a share above this is whole: differences of finite steps are not exact
_SIDE = 64  # pixels, the least
_DRAWS = 6  # directions, and weights of the mask: their products are compared
# In grey levels of 255: a quarter, which hardly bends; and four, over which rounding averages out.
_STEPS = (0.25 / 255, 4 / 255)
_COARSE = (torch.float16, torch.bfloat16)
_DEAF = 1e-5  # of the logits' scale: changes below it are rounding


@dataclass(frozen=True)
class GradientShare:
    """How much of the gradient comes back.

    Attributes:
        share: in [0, 1], of the squared length of the image's gradient; None where it cannot be
            told.
        reason: why nothing comes back, or why it cannot be told; "" else.
    """

    share: float | None
    reason: str = ""

    def __str__(self) -> str:
        """Return one line for people."""
        if self.share is None:
            return f"not measured: {self.reason}"
        if self.is_cut:
            return f"none comes back to the image: {self.reason}"
        rest = "; the rest is cut off on the way, or its mask jumps at the smallest change"
        part = rest if self.is_partial else ""
        return f"{self.share:.0%} comes back to the image{part}"

    @property
    def is_cut(self) -> bool:
        """Whether nothing comes back."""
        return self.share == 0

    @property
    def is_partial(self) -> bool:
        """Whether a part comes back, and another one does not."""
        return self.share is not None and 0 < self.share < WHOLE

    def caution(self, name: str) -> str:
        """Return what a part means for attacks on, and training through, what is named."""
        return (
            f"{self.share:.0%} of the gradient comes back through {name}; the rest is detached, "
            "runs under no_grad, is rounded or passes through numpy. Gradient attacks and training "
            "see that part alone, and the localizer looks more robust than it is: trust attacks by "
            "queries (T6) more."
        )


class Way(NamedTuple):
    """How a localizer is asked where `mask_forward` is not the way: with its host's own inputs.

    Attributes:
        forward: one image `(1, 3, H, W)` in [0, 1] -> logits `(1, 1, H, W)`.
        height: of the image in pixels.
        width: of the image in pixels.
    """

    forward: Forward
    height: int
    width: int


def gradient_share(
    localizer: nn.Module, spec: LocalizerSpec, way: Way | None = None
) -> GradientShare:
    """Measure how much of the gradient comes back through a localizer to the image.

    What autograd says of a few random directions is held against what the mask does when the image
    takes a small step there: `sum(a * d) / sum(d * d)` over directions and weights of the mask. Of
    two independent streams that is the share of squared length of the one that is differentiable.
    A part that rounds the image, and passes the gradient on, is given a second chance.

    Args:
        localizer: in any mode; nothing of it changes.
        spec: how to talk to it.
        way: how to ask it instead of by its spec.
    """
    if not can_run(localizer):
        return GradientShare(None, "its weights have no values here")
    if way is None:
        side = probing_side(spec)
        way = Way(mask_forward(localizer, spec), side, side)
    try:
        with torch.inference_mode(False), untouched(localizer):
            drawn = (t.to(device_of(localizer)) for t in _drawn(way.height, way.width))
            found = _compared(way.forward, *drawn)
    except _Silent as silent:
        return GradientShare(None, str(silent))
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        return GradientShare(None, f"it failed: {error}")
    if dtype_of(localizer) in _COARSE and not found.is_cut:
        return GradientShare(
            None, f"it computes in {dtype_of(localizer)}, too coarse for small steps"
        )
    return found


def require_gradient(localizer: nn.Module, spec: LocalizerSpec, way: Way | None = None) -> None:
    """Warn of a localizer that lets a part of the gradient through, refuse one that lets none.

    Args:
        localizer: what is to be attacked or trained through; nothing of it changes.
        spec: how to talk to it.
        way: how to ask it instead of by its spec.

    Raises:
        LocalizerError: no gradient comes back.
    """
    found, name = gradient_share(localizer, spec, way), type(localizer).__name__
    if found.is_cut:
        raise LocalizerError(
            f"no gradient comes back through {name}: {found.reason}. Attacks and training need "
            "one: take detach(), no_grad, inference_mode and numpy out of its forward."
            + (" `ansm localize` works without." if way is None else "")
        )
    if found.is_partial:
        warnings.warn(found.caution(name), stacklevel=2)


def probing_side(spec: LocalizerSpec) -> int:
    """Return the side in pixels of a small square image that a localizer takes."""
    enough = max(_SIDE, spec.smallest)
    return enough + -enough % spec.stride


def _compared(
    forward: Forward, image: Tensor, directions: Tensor, weights: Tensor
) -> GradientShare:
    """Compare autograd with differences, for directions and weights `(K, C, H, W)`.

    Raises:
        _Silent: the mask does not answer.
    """
    with torch.no_grad():
        forward(image)  # if that fails, it is not for want of a gradient
    gradients, reason = _gradients(forward, image, weights)
    if gradients is None:
        return GradientShare(0.0, reason)
    differences = _differences(forward, image, _STEPS[0] * directions)
    if not bool(gradients.any()):
        return GradientShare(0.0, "its gradient is 0 everywhere, though its mask answers the image")
    share = _slope(gradients, _STEPS[0] * directions, weights, differences)
    if share < WHOLE:
        differences = _differences(forward, image, _STEPS[1] * directions)
        share = max(share, _slope(gradients, _STEPS[1] * directions, weights, differences))
    return GradientShare(min(1.0, max(0.01, share)))


def _differences(forward: Forward, image: Tensor, steps: Tensor) -> Tensor:
    """Return how the mask changes with each step, `(K, 3, H, W)` -> `(K, 1, H, W)`.

    Raises:
        _Silent: it does not, or its logits are no numbers.
    """
    with torch.no_grad():  # one after the other: some localizers take large images alone
        ahead = torch.cat([forward(image + step) for step in steps])
        behind = torch.cat([forward(image - step) for step in steps])
    if not bool((ahead - behind).isfinite().all()):
        raise _Silent("its logits are NaN or infinite")
    if float((ahead - behind).abs().max()) <= _DEAF * float(ahead.abs().max()):
        raise _Silent("its mask does not answer small changes of the image")
    return (ahead - behind) / 2


def _slope(gradients: Tensor, steps: Tensor, weights: Tensor, differences: Tensor) -> float:
    """Return the slope of what gradients tell of the steps against what was measured there."""
    told = torch.einsum("kchw,lchw->kl", gradients, steps)
    measured = torch.einsum("kchw,lchw->kl", weights, differences)
    return float((told * measured).sum() / measured.square().sum())


def _gradients(forward: Forward, image: Tensor, weights: Tensor) -> tuple[Tensor | None, str]:
    """Return the gradient of the mask under each weight, `(K, 3, H, W)`; or why there is none."""
    gradients = []
    for weight in weights:
        leaf = image.clone().requires_grad_()
        try:
            with torch.enable_grad():
                logits = forward(leaf)
                if not logits.requires_grad:
                    return None, "its output is detached, or no_grad or argmax cut it off"
                (found,) = torch.autograd.grad((weight * logits).sum(), leaf, allow_unused=True)
        except (RuntimeError, LocalizerError) as error:
            if isinstance(error.__cause__ or error, torch.OutOfMemoryError):
                raise
            return None, str(error.__cause__ or error).partition(" Hint:")[0].rstrip(".")
        if found is None:
            return None, "no differentiable way leads from the image to its mask"
        gradients.append(found)
    return torch.cat(gradients), ""


def _drawn(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return an image `(1, 3, H, W)`, directions `(K, 3, H, W)`, weights `(K, 1, H, W)`."""
    generator = torch.Generator().manual_seed(0)
    image = _image(height, width, generator)
    directions, weights = (_signs((_DRAWS, n, height, width), generator) for n in (3, 1))
    return image, directions, weights


def _image(height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return an image `(1, 3, H, W)` of soft shapes and some noise, away from 0 and 1."""
    soft = torch.rand(1, 3, height // 8 or 1, width // 8 or 1, generator=generator)
    shapes = nn.functional.interpolate(soft, (height, width), mode="bicubic")
    noise = torch.rand(1, 3, height, width, generator=generator)
    return (0.1 + 0.7 * shapes + 0.1 * noise).clamp(0.05, 0.95)


def _signs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return 2.0 * torch.randint(2, shape, generator=generator) - 1.0


class _Silent(Exception):  # noqa: N818 - it ends a comparison, it is no error
    """What the mask does says nothing of the gradient."""
