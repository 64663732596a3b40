"""A localizer that was handed over in Python, under a name that configs of recipes can hold.

Recipes build localizers by name. For the time of a call the name of an object of the user's stands
for copies of it, so that the object itself is never trained, moved or frozen.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.stated import restate, state

_PREFIX = "python:"
_HANDED: dict[str, tuple[nn.Module, LocalizerSpec | None]] = {}


@contextmanager
def handed_over(localizer: nn.Module, spec: LocalizerSpec | None = None) -> Iterator[str]:
    """Let a name stand for copies of a localizer inside the block; yield it.

    Args:
        localizer: the user's.
        spec: how to talk to it; None leaves that to `describe`.
    """
    name = f"{_PREFIX}{type(localizer).__name__}"
    outer = _HANDED.get(name)
    _HANDED[name] = localizer, spec
    try:
        yield name
    finally:
        del _HANDED[name]
        if outer is not None:
            _HANDED[name] = outer


def is_handed(name: str) -> bool:
    """Return whether this is the name of an object, whether it is there or not."""
    return name.startswith(_PREFIX)


def copy_of(name: str) -> nn.Module:
    """Return a copy of the localizer of a name.

    Raises:
        ConfigError: it is not there, as behind a config of an earlier call.
        LocalizerError: it cannot be copied.
    """
    if name not in _HANDED:
        raise ConfigError(
            f"{name} was an object that Python code handed over, and it is not here. Pass it again "
            "to ansm_plugin.train(localizer=...), or name the code that builds it: "
            "module:function@weights.safetensors."
        )
    localizer, spec = _HANDED[name]
    try:
        made = copy.deepcopy(localizer)
    except Exception as error:  # whatever its parts raise
        raise LocalizerError(
            f"{type(localizer).__name__} cannot be copied, and training must not touch yours: "
            f"{error}. Name the code that builds it, module:function, instead."
        ) from error
    restate(localizer, made)
    if spec is not None:
        state(made, spec)
    return made
