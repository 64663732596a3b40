"""What a localizer returns for one image, seen and put in words.

Shape suffixes: B batch, C classes of a mask, H height, W width (pixels).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.localizer.output import find_mask
from ansm_plugin.localizer.probe import can_run, untouched
from ansm_plugin.localizer.spec import LocalizerSpec


class Seen(NamedTuple):
    """What came back for one image.

    Attributes:
        form: of the output, in words.
        mask: `(B, C, H, W)` as it is; None where there is none.
        place: of the mask in the output, in words.
        several: whether other maps stand beside the mask.
        problem: why there is no mask; "" where there is one.
    """

    form: str
    mask: Tensor | None
    place: str = ""
    several: bool = False
    problem: str = ""


def look(localizer: nn.Module, spec: LocalizerSpec, height: int, width: int) -> Seen:
    """Return what a localizer gives for an image of a size that it takes.

    Args:
        localizer: in any mode; nothing of it changes.
        spec: how to talk to it.
        height: of the image in pixels.
        width: of the image in pixels.
    """
    if not can_run(localizer):
        return Seen("nothing", None, problem="its weights have no values here")
    pixels = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    kept: list[Any] = []
    hook = localizer.register_forward_hook(lambda module, given, output: kept.append(output))
    try:
        with untouched(localizer), torch.no_grad():
            mask_forward(localizer, spec)(pixels.to(device_of(localizer)))
            mask = find_mask(kept[-1], spec.mask_key, (height, width))
    except (Exception, SystemExit) as error:  # whatever a stranger's code raises
        return Seen(_form(kept[-1]) if kept else "nothing", None, problem=str(error))
    finally:
        hook.remove()
    mask = mask.unsqueeze(1) if mask.ndim == 3 else mask
    return Seen(_form(kept[-1]), mask, *_place(kept[-1], mask))


def _place(output: Any, mask: Tensor) -> tuple[str, bool]:
    """Return where a mask is in an output, and whether other maps are there too."""
    if isinstance(output, Tensor):
        return "all of it", False
    parts = dict(_parts(output))
    maps = [name for name, part in parts.items() if _is_map(part)]
    own = [name for name in maps if parts[name].data_ptr() == mask.data_ptr()]
    return (own[0] if own else "made of class and mask queries"), len(maps) > 1


def _is_map(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim in (3, 4)


def _parts(output: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of an output with their names in words."""
    if isinstance(output, Mapping):
        yield from ((f"entry {key!r}", value) for key, value in output.items())
    elif isinstance(output, tuple | list):
        yield from ((f"number {index}", value) for index, value in enumerate(output))
    else:
        named = getattr(output, "__dict__", {}).items()
        yield from ((f"attribute {name!r}", value) for name, value in named)


def _form(output: Any) -> str:
    """Return what an output is, in words."""
    if isinstance(output, Tensor):
        return f"a tensor {tuple(output.shape)}"
    parts = [f"{name} {_short(part)}" for name, part in _parts(output)]
    return f"{type(output).__name__} of {', '.join(parts) or 'nothing'}"


def _short(part: Any) -> str:
    return str(tuple(part.shape)) if isinstance(part, Tensor) else type(part).__name__
