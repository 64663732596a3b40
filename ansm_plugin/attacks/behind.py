"""The modules behind a forward, which must be in eval mode while it is attacked."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from itertools import islice
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import nn

_MOST_PARTS = 64  # of a list: more than an ensemble has, fewer than a data set


def modules_behind(forward: object) -> tuple[nn.Module, ...]:
    """Return the modules that `forward` is, or that it plainly refers to.

    Seen are modules and their methods, `functools.partial`, callable objects and their attributes,
    and of functions what they close over, their defaults, and what their code names of their own
    file: so those of `mask_forward`, `adaptive_forwards`, and a lambda around a model. What is
    reached in another way (a registry, a server) stays unknown.
    """
    found: list[nn.Module] = []
    seen: dict[int, object] = {}  # held, so that no id is used again
    waiting = [forward]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen[id(thing)] = thing
        if isinstance(thing, nn.Module):
            found.append(thing)
        else:
            waiting += _referred(thing)
    return tuple(found)


def has_modes(module: nn.Module) -> bool:
    """Return whether a part of `module` that is in train mode does something else in eval mode.

    As BatchNorm and dropout do: their code names `training`. Of a part whose code cannot be read
    (TorchScript) it is taken for granted.
    """
    kinds: set[Any] = {type(m) for m in module.modules() if m.training}
    return any(_names_training(kind) for kind in kinds)


@cache
def _names_training(kind: type[nn.Module]) -> bool:
    if issubclass(kind, torch.jit.ScriptModule):
        return True
    own = kind.__mro__[: kind.__mro__.index(nn.Module)]
    functions = [f for k in own for f in vars(k).values() if isinstance(f, FunctionType)]
    return any("training" in _names(function.__code__) for function in functions)


def _referred(thing: object) -> Iterator[object]:
    """Yield what a callable or a container refers to and may be called through it."""
    if isinstance(thing, partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, FunctionType):
        yield from _of_function(thing)
    elif isinstance(thing, list | tuple | dict):
        parts = thing.values() if isinstance(thing, dict) else thing
        yield from (part for part in islice(parts, _MOST_PARTS) if _leads_on(part))
    elif hasattr(thing, "__dict__") and not isinstance(thing, type):
        yield from (part for part in vars(thing).values() if _leads_on(part))


def _of_function(function: FunctionType) -> Iterator[object]:
    names = frozenset(_names(function.__code__))
    held = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    held += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    yield from (thing for thing in held if _leads_on(thing))
    named = [function.__globals__[name] for name in names if name in function.__globals__]
    for thing in named:
        is_ours = not isinstance(thing, FunctionType) or thing.__globals__ is function.__globals__
        if is_ours and _leads_on(thing):
            yield thing
    # `trainer.model(x)`: of any other object what the code names of it, and that alone.
    for thing in (*held, *named):
        attributes = {} if _leads_on(thing) else getattr(thing, "__dict__", {})
        yield from (
            attributes[name] for name in names if isinstance(attributes.get(name), nn.Module)
        )


def _leads_on(thing: object) -> bool:
    return isinstance(
        thing, nn.Module | partial | MethodType | FunctionType | list | tuple | dict
    ) or (callable(thing) and hasattr(thing, "__dict__") and not isinstance(thing, type))


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that code uses, also in the comprehensions inside it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_filled(cell: object) -> bool:
    try:
        cell.cell_contents  # type: ignore[attr-defined]  # noqa: B018
    except ValueError:
        return False
    return True
