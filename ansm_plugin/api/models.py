"""The model of a call: an object of the user's or a name, and afterwards as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ansm_plugin.commands.loading import load_defended, load_localizer
from ansm_plugin.defended import DefendedLocalizer, unwrap, wrap_with_ansm
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.modes import device_of, frozen_eval
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.device import find_device
from ansm_plugin.system.paths import user_path

Device = str | torch.device | None
# A localizer, bare or defended, its name, or a bare one with how to talk to it.
Model = nn.Module | str | tuple[nn.Module, LocalizerSpec]


@contextmanager
def bare_or_defended(
    model: Model, device: Device = None, *, defends_names: bool = False
) -> Iterator[tuple[nn.Module, LocalizerSpec]]:
    """Let a block use a model in eval mode, with how to talk to it; afterwards it is as before.

    Args:
        model: a localizer, a defended one, or the name of one as on the command line;
            "NAME+ANSM.safetensors" is the name of a defended one. (localizer, spec) says how to
            talk to a bare one.
        device: where it computes meanwhile; None: where it is, and the CPU for a name.
        defends_names: whether the name of a localizer stands for it behind its ANSM.

    Raises:
        AnsmError: no model, or a name, a file or a device that cannot be used.
    """
    if isinstance(model, str):
        is_pair = defends_names or "+" in model
        named = load_defended(*split(model)) if is_pair else load_localizer(model)
        # Nobody else has it: it may be moved for good.
        model = named if device is None else named.to(find_device(device))
    module, spec = unpacked(model)
    with at(module, device), frozen_eval(module):
        if isinstance(module, DefendedLocalizer):
            yield module, module.spec
        else:
            yield module, spec or describe(module)


@contextmanager
def defended(model: Model, device: Device = None) -> Iterator[DefendedLocalizer[Any]]:
    """Let a block use a defended localizer; afterwards the model is as before.

    Args:
        model: as in `bare_or_defended`. A bare localizer gets a fresh ANSM, which changes nothing;
            a name of `ansm models` brings its own.
        device: as in `bare_or_defended`.

    Raises:
        AnsmError: no model, or a name, a file or a device that cannot be used.
    """
    if isinstance(model, str):
        model = load_defended(*split(model), may_be_untrained=True)
    module, spec = unpacked(model)
    with at(module, device):
        if isinstance(module, DefendedLocalizer):
            yield module
            return
        wrapped = wrap_with_ansm(module, spec=spec)
        try:
            yield wrapped
        finally:
            unwrap(wrapped)


def split(name: str) -> tuple[str, Any]:
    """Return localizer and ANSM file, or None, of "NAME+ANSM.safetensors"."""
    localizer, _, weights = name.partition("+")
    return localizer, user_path(weights) if weights else None


@contextmanager
def at(model: nn.Module, device: Device) -> Iterator[None]:
    """Move a model to a device for the block, and back."""
    home = device_of(model)
    if device is None or find_device(device) == home:
        yield
        return
    model.to(find_device(device))
    try:
        yield
    finally:
        model.to(home)


def unpacked(model: object) -> tuple[nn.Module, LocalizerSpec | None]:
    """Return a module, and how to talk to it where that was said.

    Raises:
        LocalizerError: neither a module nor (localizer, spec), or a spec beside a defended one.
    """
    match model:
        case DefendedLocalizer(), LocalizerSpec():
            raise LocalizerError("a defended localizer has its spec already; give it alone.")
        case nn.Module() as module, LocalizerSpec() as spec:
            return module, spec
        case nn.Module():
            return model, None
    raise LocalizerError(
        f"model is {type(model).__name__}; allowed: a torch.nn.Module, a defended localizer, the "
        "name of one, or (localizer, LocalizerSpec(...))."
    )
