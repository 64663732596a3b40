"""What somebody has stated of a localizer: it goes before all that can be found out.

Kept beside the localizer, which is not touched, and as long as that lives.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from torch import nn

from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.wrappers import through_wrappers

_STATED: WeakKeyDictionary[nn.Module, LocalizerSpec] = WeakKeyDictionary()


def state(localizer: nn.Module, spec: LocalizerSpec) -> None:
    """Let `describe` return this spec for a localizer, whatever wrapper it is in."""
    _STATED[through_wrappers(localizer)] = spec


def stated(localizer: nn.Module) -> LocalizerSpec | None:
    """Return the spec that was stated for a localizer, or None."""
    return _STATED.get(through_wrappers(localizer))


def restate(source: nn.Module, target: nn.Module) -> None:
    """State for a copy what was stated for its source, if anything was."""
    if (spec := stated(source)) is not None:
        state(target, spec)
