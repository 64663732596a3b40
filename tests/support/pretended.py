"""A pretended accelerator: its tensors lie in the CPU's memory and say that they do not.

As on a real one, an operation on tensors of both devices is an error, and numpy sees none of them.
Convolutions are counted where they run, so that a test can tell what computed on the CPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

KIND = "mps"  # of which nothing here is asked but its name
DEVICE = torch.device(KIND, 0)

_INDEXED = {"__getitem__", "__setitem__"}  # by an index of the CPU, too
_ON_HOST = {"numpy", "__array__"}


class Far(Tensor):
    """A tensor of the pretended accelerator."""

    @classmethod
    def __torch_function__(
        cls,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer as the accelerator would."""
        return called(func, args, dict(kwargs or {}), Counter())


class Pretending(TorchFunctionMode):
    """Sees every call of torch, also those that make a tensor on a device."""

    def __init__(self, convolutions: Counter[str]) -> None:
        super().__init__()
        self.convolutions = convolutions

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Answer as torch would with such an accelerator."""
        return called(func, args, dict(kwargs or {}), self.convolutions)


def called(
    func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], counted: Counter[str]
) -> Any:
    """Return what torch answers, on the device where that would be."""
    name = getattr(func, "__name__", "")
    given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    is_far = any(isinstance(tensor, Far) for tensor in given)
    if name == "__get__" and func == Tensor.device.__get__:  # type: ignore[attr-defined]
        return DEVICE if is_far else _plainly(func, args, kwargs)
    if name in ("to", "cpu", "copy_"):
        return _moved(name, func, args, kwargs)
    if name == "_has_compatible_shallow_copy_type":  # asked by Module.to: a new parameter, please
        return False
    if is_far:
        _require_together(name, given)
    if name in ("conv2d", "conv_transpose2d"):
        counted["accelerator" if is_far else "cpu"] += 1
    is_made = _is_ours(kwargs.get("device"))
    if is_made:
        kwargs["device"] = "cpu"
    found = _plainly(func, args, kwargs)
    return tree_map(_far, found) if is_far or is_made else found


@contextmanager
def pretending() -> Iterator[Counter[str]]:
    """Let torch have the accelerator inside the block; yield convolutions by where they ran."""
    overwrites = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    counted: Counter[str] = Counter()
    try:
        with pytest.MonkeyPatch.context() as patch, Pretending(counted):
            patch.setattr(torch.accelerator, "is_available", lambda: True)
            patch.setattr(torch.accelerator, "device_count", lambda: 1)
            patch.setattr(
                torch.accelerator,
                "current_accelerator",
                lambda check_available=False: torch.device(KIND),
            )
            patch.setattr(torch.mps, "empty_cache", lambda: None)
            yield counted
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(overwrites)


def _require_together(name: str, given: Sequence[Tensor]) -> None:
    if name in _ON_HOST:
        raise TypeError(f"can't convert {DEVICE} tensor to numpy; use Tensor.cpu() first")
    near = [t for t in given[1 if name in _INDEXED else 0 :] if not isinstance(t, Far)]
    strangers = [t for t in near if t.ndim and not (name in _INDEXED and not t.is_floating_point())]
    if strangers:
        raise RuntimeError(
            f"{name}: Expected all tensors to be on the same device, but found {DEVICE} and cpu"
        )


def _moved(name: str, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    """Return what a move makes: `to(device)`, `to(other)`, `to(dtype)`, `cpu()`, `copy_(other)`."""
    tensor, *words = args
    if name == "copy_":  # across devices, too
        return _plainly(func, args, kwargs)
    is_far = isinstance(tensor, Far) and name == "to"
    for word in (*words, *kwargs.values()):
        if isinstance(word, Tensor):
            is_far = isinstance(word, Far)
        elif isinstance(word, torch.device | str):
            is_far = _is_ours(word)
    near = [_near(word) for word in words]
    found = _plainly(func, (_near(tensor), *near), {k: _near(v) for k, v in kwargs.items()})
    return _far(found) if is_far else found


def _near(thing: Any) -> Any:
    """Return a device or a tensor of ours as that of the CPU that it is."""
    if isinstance(thing, Far):
        return _plainly(Tensor.as_subclass, (thing, Tensor), {})
    return "cpu" if _is_ours(thing) else thing


def _is_ours(device: object) -> bool:
    return isinstance(device, torch.device | str) and str(device).startswith(KIND)


def _plainly(func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    with torch._C.DisableTorchFunctionSubclass():
        return func(*args, **kwargs)


def _far(thing: Any) -> Any:
    if not isinstance(thing, Tensor) or isinstance(thing, Far):
        return thing
    return _plainly(Tensor.as_subclass, (thing, Far), {})
