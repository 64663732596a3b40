"""A frozen localizer that answers the same in less time, on a device that computes by itself.

Its BatchNorms are folded, its weights are cast to bf16 once and not in every pass, and it runs in
the memory layout that a short probe finds faster. What the user handed over is never changed.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.folding import folded
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.spec import LocalizerSpec

W = TypeVar("W")
LAYOUTS = (torch.channels_last, torch.contiguous_format)
_PROBED = (8, 3, 256, 256)  # images of the probe
_ROUNDS = 3  # that are timed, after two that are not
_PLAIN = ("cpu", "meta")  # devices that gain nothing by copies and layouts
_AS_COARSE = 2.0  # times the error of autocast that a cast copy may have
_UNUSABLE = (LocalizerError, RuntimeError, TypeError)  # it takes no such image, or no copy

# By localizer: what the probe found for a device and a precision.
_FOUND: WeakKeyDictionary[nn.Module, dict[tuple[torch.device, str], torch.memory_format]]
_FOUND = WeakKeyDictionary()


class Quick(NamedTuple):
    """How to run a localizer quickly.

    Attributes:
        localizer: a copy, or the localizer itself where no copy is better.
        precision: that `mask_forward` is to be told; "fp32" for a copy that is cast already.
        layout: of its input.
    """

    localizer: nn.Module
    precision: str
    layout: torch.memory_format


def quick_forward(localizer: nn.Module, spec: LocalizerSpec, *, precision: str = "fp32") -> Forward:
    """Return what `mask_forward` does up to rounding, in less time; nothing in it can be tapped.

    On the CPU BatchNorms are folded, and that is all.

    Args:
        localizer: bare, frozen and in eval mode; it may change neither weights nor device later.
        spec: how to talk to it.
        precision: "fp32" or "bf16".
    """
    made = quick(localizer, spec, precision=precision)
    return mask_forward(made.localizer, spec, precision=made.precision, layout=made.layout)


def quick(localizer: nn.Module, spec: LocalizerSpec, *, precision: str = "fp32") -> Quick:
    """Return how to run a localizer quickly where it is: see `quick_forward`."""
    made = Quick(folded(localizer, spec), precision, torch.channels_last)
    device = device_of(localizer)
    if device.type in _PLAIN:
        return made
    if precision == "bf16" and (cast := cast_copy(made.localizer, spec)) is not None:
        made = Quick(cast, "fp32", made.layout)
    found = _FOUND.setdefault(localizer, {})
    if (device, precision) not in found:
        found[device, precision] = fastest(
            LAYOUTS, lambda layout: _seconds(_forward_in(made, spec, layout), device)
        )
    return _laid_out(made, localizer, found[device, precision])


def cast_copy(localizer: nn.Module, spec: LocalizerSpec, *, side: int = 64) -> nn.Module | None:
    """Return a copy of a localizer whose weights are bf16, or None where autocast answers better.

    Autocast keeps in fp32 what it must (softmax, norms); a copy has all of it in bf16. It is held
    against the fp32 localizer on one image, beside autocast.

    Args:
        localizer: in eval mode, in fp32; not changed.
        spec: how to talk to it.
        side: height and width of the image, in pixels.
    """
    drawn = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    pixels = drawn.to(device_of(localizer))
    with torch.no_grad():
        try:
            made = copy.deepcopy(localizer).to(torch.bfloat16).requires_grad_(False)
            exact, coarse = (mask_forward(localizer, spec, precision=p) for p in ("fp32", "bf16"))
            expected = exact(pixels)
            allowed = _AS_COARSE * _distance(coarse(pixels), expected)
            found = _distance(mask_forward(made, spec)(pixels), expected)
        except _UNUSABLE:
            return None
    return made if found <= allowed else None


def fastest(ways: Sequence[W], seconds: Callable[[W], float]) -> W:
    """Return the way that takes the fewest seconds, the first of equal ones.

    Args:
        ways: one or more.
        seconds: of a way; a LocalizerError or RuntimeError says that it cannot be gone. Where none
            can, the first way is returned: whoever goes it learns why.
    """
    taken = []
    for way in ways:
        try:
            taken.append(seconds(way))
        except _UNUSABLE:
            taken.append(math.inf)
    return ways[taken.index(min(taken))]


def _forward_in(made: Quick, spec: LocalizerSpec, layout: torch.memory_format) -> Forward:
    """Return the forward in a layout, of a copy that has its weights in it."""
    laid_out = copy.deepcopy(made.localizer).to(memory_format=layout)
    return mask_forward(laid_out, spec, precision=made.precision, layout=layout)


def _laid_out(made: Quick, given: nn.Module, layout: torch.memory_format) -> Quick:
    """Return the copy in a layout; the user's own localizer is copied first, if it can be."""
    own = made.localizer
    if own is given:
        try:
            own = copy.deepcopy(given)
        except _UNUSABLE:
            return made._replace(layout=layout)
    own = own.to(memory_format=layout).requires_grad_(False)
    return Quick(own, made.precision, layout)


def _seconds(forward: Forward, device: torch.device) -> float:
    """Return the least seconds of a pass there and back."""
    pixels = torch.full(_PROBED, 0.5, device=device)
    taken = []
    for _ in range(2 + _ROUNDS):
        torch.accelerator.synchronize(device)
        began = time.perf_counter()
        with torch.enable_grad():
            leaf = pixels.detach().requires_grad_()
            torch.autograd.grad(forward(leaf).sum(), leaf)
        torch.accelerator.synchronize(device)
        taken.append(time.perf_counter() - began)
    return min(taken[2:])


def _distance(found: Tensor, expected: Tensor) -> float:
    """Return the root mean square difference; infinite where something is not finite."""
    square = float((found - expected).square().mean())
    return math.sqrt(square) if math.isfinite(square) else math.inf
