"""A frozen localizer without its BatchNorms: each is folded into the convolution before it.

Shape suffixes: B batch, H height, W width.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.spec import LocalizerSpec

M = TypeVar("M", bound=nn.Module)
Pairs = list[tuple[str, str]]  # names of a convolution and of the BatchNorm behind it
_TOLERANCE = 1e-3  # of the largest logit: fp32 rounding is a hundredth of that


def folded(localizer: M, spec: LocalizerSpec, *, side: int = 64) -> M:
    """Return a copy of `localizer` that computes the same with fewer passes over memory.

    A BatchNorm in eval mode is one factor and one offset for each channel, but torch computes it,
    and its gradient, as if it could learn: a tenth of a step of MgR. Pairs are found by watching
    one image pass; the copy is held against the original on that image, and where they differ, or
    nothing can be folded, the localizer itself comes back. What comes back is never changed.

    Features inside the copy are others than those of the original: taps belong on the original.

    Args:
        localizer: in eval mode; not changed.
        spec: how to talk to it.
        side: height and width of the image that is watched, in pixels.
    """
    if not any(isinstance(module, nn.BatchNorm2d) for _, module in _candidates(localizer)):
        return localizer
    device = device_of(localizer)
    drawn = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    pixels, forward = drawn.to(device), mask_forward(localizer, spec)
    with torch.no_grad():
        try:
            expected, pairs = _watched(localizer, lambda: forward(pixels))
            made = _without(localizer, pairs)
            found = mask_forward(made, spec)(pixels)
        except (LocalizerError, RuntimeError, TypeError):  # it takes no such image, or no copy
            return localizer
    limit = _TOLERANCE * max(1.0, float(expected.abs().max()))
    return made if bool(((found - expected).abs() <= limit).all()) else localizer


def _watched(localizer: nn.Module, run: Callable[[], Tensor]) -> tuple[Tensor, Pairs]:
    """Return what `run` returns, and the convolutions whose output goes into a BatchNorm as it is.

    Both have to be called exactly once: one convolution behind two BatchNorms cannot be folded.
    """
    outputs: dict[int, tuple[str, Tensor]] = {}  # by identity; held, so that none is used again
    calls: Counter[str] = Counter()
    pairs: Pairs = []

    def watch(name: str) -> Callable[..., None]:
        def seen(module: nn.Module, given: tuple[Any, ...], output: Any) -> None:
            calls[name] += 1
            if isinstance(module, nn.Conv2d):
                outputs[id(output)] = (name, output)
            elif (source := outputs.get(id(given[0]))) is not None:
                pairs.append((source[0], name))

        return seen

    with ExitStack() as hooks:
        for name, module in _candidates(localizer):
            hooks.callback(module.register_forward_hook(watch(name)).remove)
        result = run()
    behind = Counter(conv for conv, _ in pairs)
    kept = [(c, n) for c, n in pairs if calls[c] == calls[n] == behind[c] == 1]
    return result, kept


def _candidates(localizer: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield the plain convolutions and the frozen BatchNorms of a localizer, with their names."""
    for name, module in localizer.named_modules():
        frozen = isinstance(module, nn.BatchNorm2d) and module.running_mean is not None
        if type(module) is nn.Conv2d or (frozen and not module.training):
            yield name, module


def _without(localizer: M, pairs: Pairs) -> M:
    """Return a copy in which the second of each pair is folded into the first."""
    made = copy.deepcopy(localizer)
    modules = dict(made.named_modules())
    for convolution, norm in pairs:
        first, second = modules[convolution], modules[norm]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.BatchNorm2d)
        _replace(made, convolution, fuse_conv_bn_eval(first, second).requires_grad_(False))
        # timm's BatchNormAct2d ends with its own dropout and activation.
        rest = [m for m in (getattr(second, k, None) for k in ("drop", "act")) if m is not None]
        _replace(made, norm, nn.Sequential(*rest))
    return made


def _replace(root: nn.Module, name: str, module: nn.Module) -> None:
    home, _, last = name.rpartition(".")
    setattr(root.get_submodule(home), last, module)
