"""Any other torch module: a function of the user's own code, or a module with an explicit spec."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

from torch import nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.probe import SIDES, probe, seen_activation
from ansm_plugin.localizer.sizes import Sizes, probed_sizes
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.stated import state
from ansm_plugin.localizer.traits import find_fixed_side, find_normalisation
from ansm_plugin.system.blame import culprit

# Of the square images that are tried, in pixels: the last ones for those of one size alone.
_SIDES = (*SIDES, 224, 512)


def matches(localizer: nn.Module) -> bool:
    """Return True: every module can be tried as a plain one."""
    return True


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return a spec with the normalisation that was found, what the mask holds, and no taps.

    What the mask holds is seen on two small images; a warning says so where it is probabilities.
    The stride is seen on a few more: the smallest one for which the localizer does not fail.
    Without taps FFA needs `taps` in its config, or `spec=LocalizerSpec(taps=...)`.
    """
    mean, std, source = find_normalisation(localizer)
    side = find_fixed_side(localizer)
    seen = probe(localizer, (side,) if side else _SIDES)
    sizes = Sizes() if seen is None else probed_sizes(localizer, seen.side)
    return LocalizerSpec(
        family="plain",
        mean=mean,
        std=std,
        normalisation=source,
        activation=seen_activation(localizer, None if seen is None else seen.mask),
        **sizes._asdict(),
    )


def build(query: str) -> nn.Module:
    """Call `module:function` of the user's own code, found from the current folder too.

    The function may return `(model, LocalizerSpec)`: then the spec is what `describe` says of it.

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
    return _localizer_of(build_it(), query)


def _localizer_of(made: object, query: str) -> nn.Module:
    """Return the localizer in what a user's function returned, and keep the spec beside it."""
    match made:
        case nn.Module():
            return made
        case (nn.Module() as localizer, LocalizerSpec() as spec):
            state(localizer, spec)
            return localizer
        case (first, second):
            given = f"({type(first).__name__}, {type(second).__name__})"
        case _:
            given = type(made).__name__
    raise LocalizerError(
        f"{query!r} returned {given}; it must return a torch.nn.Module, alone or with how to talk "
        "to it: (model, LocalizerSpec(...))."
    )
