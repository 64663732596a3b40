"""Modules around a localizer that change nothing of what it takes and returns."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel


def through_wrappers(localizer: nn.Module) -> nn.Module:
    """Return the module inside DataParallel, torch.compile and their kin; else the given one."""
    while (inside := _inside(localizer)) is not None:
        localizer = inside
    return localizer


def layers(localizer: nn.Module, core: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules around `core`, the outermost first, from `localizer` on."""
    around: nn.Module | None = localizer
    while around is not None and around is not core:
        yield around
        around = _inside(around) or only_learner(around)


def is_compiled(localizer: nn.Module) -> bool:
    """Return whether a module is what `torch.compile` returns."""
    # By name: the class lives where importing costs a second, and has been imported if it is one.
    return type(localizer).__name__ == "OptimizedModule" and hasattr(localizer, "_orig_mod")


def only_learner(localizer: nn.Module) -> nn.Module | None:
    """Return the only child with parameters of a module that has none of its own, or None.

    Lightning modules are so: a model, and losses and metrics beside it.
    """
    if any(p is not None for p in localizer._parameters.values()):
        return None
    learners = [c for c in localizer.children() if any(True for _ in c.parameters())]
    return learners[0] if len(learners) == 1 else None


def _inside(localizer: nn.Module) -> nn.Module | None:
    found: object = None
    if isinstance(localizer, DataParallel | DistributedDataParallel | AveragedModel):
        found = localizer.module
    elif is_compiled(localizer):
        found = localizer._orig_mod
    return found if isinstance(found, nn.Module) else None
