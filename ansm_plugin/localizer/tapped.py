"""Whether the taps of a localizer give features, seen on one small image.

Shape suffixes: C channels of a feature, N its places.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.gradient import probing_side
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.probe import can_run, untouched
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.taps import taps


class Tapped(NamedTuple):
    """What a tap gives: the `shape` (C, N) of its feature; else None, and what is wrong."""

    name: str
    shape: tuple[int, ...] | None
    problem: str = ""


def try_tap(localizer: nn.Module, spec: LocalizerSpec, name: str) -> Tapped:
    """Return what a tap gives on one small image.

    Args:
        localizer: in any mode; nothing of it changes.
        spec: how to talk to it.
        name: as `parse_tap` reads it.
    """
    if not can_run(localizer):
        return Tapped(name, None, "the localizer's weights have no values here.")
    side = probing_side(spec)
    pixels = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    try:
        with untouched(localizer), torch.no_grad(), taps(localizer, [name]) as features:
            mask_forward(localizer, spec)(pixels.to(device_of(localizer)))
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        return Tapped(name, None, str(error))
    if name not in features:
        return Tapped(name, None, f"tap {name!r} is there, but the localizer never runs it.")
    return Tapped(name, tuple(features[name].shape[1:]))


def require_taps(localizer: nn.Module, spec: LocalizerSpec, names: Sequence[str]) -> None:
    """Raise LocalizerError unless each tap gives a feature on a small image."""
    for name in names:
        if problem := try_tap(localizer, spec, name).problem:
            raise LocalizerError(problem)
