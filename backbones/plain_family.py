"""Any other torch module: a function of the user's own code, or a module with an explicit spec."""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path

from torch import nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import find_normalisation


def matches(localizer: nn.Module) -> bool:
    """Return True: every module can be tried as a plain one."""
    return True


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return a spec with the normalisation that was found, logits as output and no taps.

    Without taps FFA needs `taps` in its config, or `spec=LocalizerSpec(taps=...)`.
    """
    mean, std, source = find_normalisation(localizer)
    return LocalizerSpec(family="plain", mean=mean, std=std, normalisation=source)


def build(query: str) -> nn.Module:
    """Call `module:function` of the user's own code, found from the current folder too.

    Raises:
        LocalizerError: no such module or function, or it does not return a torch module.
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
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise LocalizerError(
            f"cannot call {query!r}: {error}. It must be a function that needs no argument."
        ) from error
    made = build_it()
    if not isinstance(made, nn.Module):
        raise LocalizerError(
            f"{query!r} returned {type(made).__name__}; it must return a torch.nn.Module."
        )
    return made
