"""Any other torch module: a function of the user's own code, or a module with an explicit spec."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

from torch import nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.probe import SIDES, probed_mask, seen_activation
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import find_fixed_side, find_normalisation
from ansm_plugin.system.blame import culprit


def matches(localizer: nn.Module) -> bool:
    """Return True: every module can be tried as a plain one."""
    return True


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return a spec with the normalisation that was found, what the mask holds, and no taps.

    What the mask holds is seen on two small images; a warning says so where it is probabilities.
    Without taps FFA needs `taps` in its config, or `spec=LocalizerSpec(taps=...)`.
    """
    mean, std, source = find_normalisation(localizer)
    side = find_fixed_side(localizer)
    mask = probed_mask(localizer, (side,) if side else SIDES)
    return LocalizerSpec(
        family="plain",
        mean=mean,
        std=std,
        normalisation=source,
        activation=seen_activation(localizer, mask),
    )


def build(query: str) -> nn.Module:
    """Call `module:function` of the user's own code, found from the current folder too.

    Raises:
        LocalizerError: no such module or function, or it does not return a torch module.
        Exception: whatever the user's own code raises.
    """
    module_name, _, function = query.partition(":")
    if not function:
        raise LocalizerError(f"{query!r} names no function; write module:function.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        build_it = getattr(importlib.import_module(module_name), function)
        inspect.signature(build_it).bind()
    except Exception as error:
        if culprit(error) is not None:  # raised by the user's own code: that is what he needs
            raise
        raise LocalizerError(
            f"cannot call {query!r}: {error}. It must be a function that needs no argument."
        ) from error
    made = build_it()
    if not isinstance(made, nn.Module):
        raise LocalizerError(
            f"{query!r} returned {type(made).__name__}; it must return a torch.nn.Module."
        )
    return made
