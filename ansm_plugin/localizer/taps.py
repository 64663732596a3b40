"""Taps: collect the features of a localizer's encoder stages while it runs, and leave no trace.

A tap is written `module.path`, `module.path[index]` for one entry of a module's list of outputs
(an SMP encoder returns such a list, a backbone of transformers an object that holds one), or with
`:nhwc` behind it for channels-last stages (Swin) and `:nlc+K` for token sequences with K prefix
tokens (ViT).

Shape suffixes: B batch, C channels of a feature, N its places.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.families import inner
from ansm_plugin.localizer.wrappers import is_compiled

_PATTERN = re.compile(r"^(?P<path>[^\[\]:]*)(\[(?P<index>\d+)\])?(:(?P<layout>nhwc|nlc\+\d+))?$")


@dataclass(frozen=True)
class Tap:
    """One place in a localizer.

    Attributes:
        path: of a module, as `named_modules` has it.
        index: of an entry of its outputs; None where it returns one tensor.
        layout: of the feature: "nchw", "nhwc", or "nlc+K" with K prefix tokens.
    """

    path: str
    index: int | None = None
    layout: str = "nchw"


def parse_tap(text: str) -> Tap:
    """Read a tap.

    Raises:
        LocalizerError: it is written otherwise; the allowed forms are shown.
    """
    match = _PATTERN.match(text)
    if match is None:
        raise LocalizerError(
            f"cannot read tap {text!r}; allowed: path, path[index], path:nhwc, path:nlc+prefix."
        )
    index = match["index"]
    return Tap(match["path"], None if index is None else int(index), match["layout"] or "nchw")


@contextmanager
def taps(localizer: nn.Module, names: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Collect features while the `with` block runs the localizer; hooks go away with it.

    Args:
        localizer: what is tapped; not changed.
        names: of taps, as `parse_tap` reads them.

    Yields:
        A dict that holds, after a forward pass, `(B, C, N)` per name in the order of `names`; the
        last pass counts.

    A compiled localizer runs uncompiled inside the block: compiled code calls no hooks.

    Raises:
        LocalizerError: a tap does not exist (nearest names are offered) or gives no feature.
    """
    # Names are those of the localizer itself, whatever is around it.
    modules = {**dict(inner(localizer).named_modules()), **dict(localizer.named_modules())}
    for name in names:
        if parse_tap(name).path not in modules:
            raise LocalizerError(_missing(name, localizer, modules))
    features: dict[str, Tensor] = {}
    handles = [
        modules[parse_tap(name).path].register_forward_hook(partial(_collect, features, name))
        for name in names
    ]
    has_compiled = any(is_compiled(module) for module in localizer.modules())
    eager = torch.compiler.set_stance("force_eager") if has_compiled else nullcontext()
    try:
        with eager:
            yield features
    finally:
        for handle in handles:
            handle.remove()


def _collect(
    features: dict[str, Tensor], name: str, module: nn.Module, args: Any, output: Any
) -> None:
    tap = parse_tap(name)
    # A copy: an in-place activation behind the tapped module would change it afterwards.
    features[name] = _as_channels(_feature(tap, name, output), tap.layout).clone()


def _feature(tap: Tap, name: str, output: Any) -> Tensor:
    """Return the feature in what the tapped module has returned, in its own layout."""
    output = getattr(output, "feature_maps", output)  # transformers' BackboneOutput
    if tap.index is not None and isinstance(output, tuple | list):
        # DPT encoders return (features, prefix tokens).
        stages = output[0] if output and isinstance(output[0], list | tuple) else output
        output = stages[tap.index] if tap.index < len(stages) else None
    if not isinstance(output, Tensor) or output.ndim not in (3, 4) or output.shape[1] == 0:
        given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise LocalizerError(
            f"tap {name!r} gives {given}, not a feature; allowed: a non-empty 3-D or 4-D tensor. "
            "Add [index] to choose from a list of stages."
        )
    return output


def _as_channels(feature: Tensor, layout: str) -> Tensor:
    """Return a feature as `(B, C, N)` whatever its layout."""
    if layout == "nhwc":
        return rearrange(feature, "b h w c -> b c (h w)")
    if layout.startswith("nlc"):
        return rearrange(feature[:, int(layout.removeprefix("nlc+")) :], "b n c -> b c n")
    return feature.flatten(2)


def _missing(name: str, localizer: nn.Module, modules: dict[str, nn.Module]) -> str:
    path = parse_tap(name).path
    near = difflib.get_close_matches(path, list(modules), n=3, cutoff=0.3)
    return (
        f"tap {name!r} is not a module of {type(localizer).__name__}; "
        f"nearest: {', '.join(near) or ', '.join(n for n, _ in localizer.named_children())}."
    )
