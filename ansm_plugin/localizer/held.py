"""A localizer that is held in eval mode and frozen, and given back as it was handed over.

Modes are kept by module and gradient flags by parameter, so that layers may be exchanged, added and
taken away meanwhile; several may hold the same localizer, and the last one gives it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import torch
from torch import nn

from ansm_plugin.errors import LocalizerError


@dataclass(frozen=True)
class _State:
    """Mode of a module, and its own parameters with their gradient flags, by name."""

    mode: bool
    flags: dict[str, tuple[nn.Parameter, bool]]


class Held:
    """The modes and flags of a localizer as it was handed over; frozen and in eval mode until then.

    What was handed over to somebody who still holds it counts as he found it.

    Args:
        localizer: is frozen, module by module.
    """

    def __init__(self, localizer: nn.Module) -> None:
        self._is_released = False
        self._states = {module: _handed_over(module) for module in localizer.modules()}
        _HOLDERS.add(self)
        localizer.requires_grad_(False)
        self.enforce(localizer)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Hold the modules of a copy, which are copies themselves."""
        self.__dict__.update(state)
        if not self._is_released:
            _HOLDERS.add(self)

    def enforce(self, localizer: nn.Module) -> None:
        """Put what somebody set to train mode back in eval mode; a few microseconds if nobody did.

        Raises:
            LocalizerError: it was given back, and is being trained now.
        """
        waiting = [localizer]
        while waiting:
            module = waiting.pop()
            if module.training:
                self._set_eval(module)
            if children := module._modules:
                waiting.extend(child for child in children.values() if child is not None)

    def release(self) -> None:
        """Give everything back that nobody else holds; the second time does nothing."""
        if self._is_released:
            return
        self._is_released = True
        _HOLDERS.discard(self)
        others = list(_HOLDERS)
        for module, state in self._states.items():
            if not any(module in other._states for other in others):
                _give_back(module, state)

    def _set_eval(self, module: nn.Module) -> None:
        if self._is_released:
            raise LocalizerError(
                "this defended localizer was unwrapped, and its localizer is in train mode now; "
                "call the localizer itself, or wrap it anew with wrap_with_ansm."
            )
        if module not in self._states:  # it joined after the wrap
            self._states[module] = _handed_over(module)
        module.training = False


_HOLDERS: WeakSet[Held] = WeakSet()  # those who have not given back, as long as they live


def _handed_over(module: nn.Module) -> _State:
    """Return the state of a module before the first of its holders changed it."""
    flags = {n: (p, p.requires_grad) for n, p in module._parameters.items() if p is not None}
    # Traced code is guarded by each holder that it reads, and breaks where one of them is collected
    # before the guards are made.
    for holder in () if torch.compiler.is_compiling() else _HOLDERS:
        if (state := holder._states.get(module)) is not None:
            return _State(state.mode, flags | state.flags)
    return _State(module.training, flags)


def _give_back(module: nn.Module, state: _State) -> None:
    module.training = state.mode
    for name, parameter in module._parameters.items():
        if parameter is None or name not in state.flags:
            continue
        given, flag = state.flags[name]
        # Moves to other devices may make new parameters, frozen as the old ones; one that learns
        # is the caller's own.
        if parameter is given or not parameter.requires_grad:
            parameter.requires_grad_(flag)
