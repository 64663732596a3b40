"""What a localizer is seen to do with small images: asked where nobody says it.

A probe leaves no trace (modes, buffers, random states) and never fails: it has no answer then.

Shape suffixes: B batch, C classes of a mask, H height, W width (pixels).
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ansm_plugin.localizer.guesses import Guess, how_to_say
from ansm_plugin.localizer.modes import device_of, dtype_of, frozen_eval
from ansm_plugin.localizer.output import find_mask
from ansm_plugin.localizer.spec import Activation
from ansm_plugin.localizer.wrappers import is_compiled

SIDES = (64, 256)  # pixels; the second where a localizer does not take the first
_ROUNDING = 1e-3  # probabilities of classes add up to 1 within this, in half precision too


class Probed(NamedTuple):
    """The mask `(2, C, H, W)`, fp32, of two fixed square images, and their side in pixels."""

    mask: Tensor
    side: int


def probe(localizer: nn.Module, sides: Sequence[int] = SIDES) -> Probed | None:
    """Return the mask of two fixed images, or None where there is none.

    The second image is far out of any input range: logits follow it, probabilities cannot.

    Args:
        localizer: in any mode; nothing of it changes.
        sides: of the square images in pixels; the first one that the localizer takes.
    """
    # Both at once; else one by one, as some localizers want it.
    for count, side in product((2, 1), sides if can_run(localizer) else ()):
        try:
            with untouched(localizer), torch.no_grad():
                parts = torch.split(_images(localizer, side), count)
                masks = [find_mask(localizer(part), None, (side, side)) for part in parts]
                mask = torch.cat(masks).detach().float()
        except (Exception, SystemExit):  # whatever a stranger's code raises
            continue
        return Probed(mask.unsqueeze(1) if mask.ndim == 3 else mask, side)
    return None


def probed_mask(localizer: nn.Module, sides: Sequence[int] = SIDES) -> Tensor | None:
    """Return the mask of `probe` alone, `(2, C, H, W)`, or None where there is none."""
    probed = probe(localizer, sides)
    return None if probed is None else probed.mask


def can_run(localizer: nn.Module) -> bool:
    """Return whether a localizer may be called: it would not make its parameters of the images.

    Without values (meta device) there is nothing to compute with.
    """
    return not any(is_lazy(p) or p.is_meta for p in localizer.parameters())


def takes(localizer: nn.Module, height: int, width: int) -> bool:
    """Return whether a localizer answers an image of this size at all."""
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    try:
        with untouched(localizer), torch.no_grad():
            localizer(_where_it_is(localizer, image))
    except (Exception, SystemExit):  # whatever a stranger's code raises
        return False
    return True


def seen_activation(localizer: nn.Module, mask: Tensor | None) -> Activation:
    """Return what a probed mask of a localizer holds, with a warning where it is probabilities."""
    found = "logits" if mask is None else activation_of(mask)
    if found != "logits":
        text = (
            f"{type(localizer).__name__} gives values within [0, 1] whatever image it is given; "
            f"they are taken for probabilities, as by spec=LocalizerSpec(activation={found!r}). "
            f"Say what the mask holds by {how_to_say('activation')}."
        )
        warnings.warn(Guess(text, "activation"), stacklevel=2)
    return found


def activation_of(mask: Tensor) -> Activation:
    """Return what a probed mask holds; logits unless it can only be probabilities.

    Shape: `(B, C, H, W)`.
    """
    low, high = float(mask.min()), float(mask.max())
    if not (0 <= low < high <= 1):  # NaN too; a constant says nothing
        return "logits"
    total = mask.sum(1)
    adds_up = mask.shape[1] > 1 and bool(((total - 1).abs() <= _ROUNDING * mask.shape[1]).all())
    return "softmax" if adds_up else "sigmoid"


def is_same(mask: Tensor | None, other: Tensor | None) -> bool:
    """Return whether two probed masks are the same but for rounding; None is no objection."""
    if mask is None or other is None:
        return True
    return mask.shape == other.shape and torch.allclose(mask, other, 1e-3, 1e-3, equal_nan=True)


def _images(localizer: nn.Module, side: int) -> Tensor:
    drawn = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    return _where_it_is(localizer, torch.cat([drawn, -50 * drawn]))


def _where_it_is(localizer: nn.Module, images: Tensor) -> Tensor:
    return images.to(device_of(localizer), dtype_of(localizer) or torch.float32)


@contextmanager
def untouched(localizer: nn.Module) -> Iterator[None]:
    """Run in eval mode, frozen, in silence and uncompiled; afterwards all is as before."""
    device = device_of(localizer)
    buffers = [
        (home, name, buffer, buffer.clone())
        for home in localizer.modules()
        for name, buffer in home._buffers.items()
        if buffer is not None and not buffer.is_meta
    ]
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - a stranger's
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng([device] if device.type == "cuda" else []))
        stack.enter_context(frozen_eval(localizer))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if any(is_compiled(module) for module in localizer.modules()):  # minutes for a few images
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numbers)  # noqa: NPY002
            for home, name, buffer, before in buffers:
                home._buffers[name] = buffer
                if not torch.equal(buffer, before):
                    with torch.no_grad():
                        buffer.copy_(before)
