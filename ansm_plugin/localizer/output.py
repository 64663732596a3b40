"""The mask inside whatever a localizer returns.

Shape suffixes: B batch, C classes of a mask, H height, W width (pixels).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ansm_plugin.errors import LocalizerError

_MASK_KEYS = ("pred_mask", "mask", "logits", "out")  # IMDLBenCo, generic, Hugging Face, torchvision


def find_mask(output: Any, key: str | int | None) -> Tensor:
    """Return the mask in a localizer's output, as it is.

    Args:
        output: a tensor; or a mapping, a tuple or list, or an object that holds one.
        key: key, index or attribute of the mask; None tries the usual names, or takes the first.

    Returns:
        `(B, C, H, W)` or `(B, H, W)`, in the range and dtype of the localizer.

    Raises:
        LocalizerError: there is no such tensor.
    """
    found = _select(output, key)
    if isinstance(found, Tensor) and found.ndim in (3, 4):
        return found
    raise LocalizerError(
        f"no mask found in the localizer's output of type {type(output).__name__}"
        f"{_outline(output)}; allowed: a (B, C, H, W) tensor, alone, first in a tuple, or under "
        f"one of {', '.join(_MASK_KEYS)}. Pass spec=LocalizerSpec(mask_key=...) to name it."
    )


def _select(output: Any, key: str | int | None) -> Any:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        keys = _MASK_KEYS if key is None else (key,)
        return next((output[k] for k in keys if k in output), None)
    if isinstance(output, tuple | list):
        index = 0 if key is None else key
        return output[index] if isinstance(index, int) and index < len(output) else None
    names = _MASK_KEYS if key is None else (str(key),)
    return next((getattr(output, n) for n in names if hasattr(output, n)), None)


def _outline(output: Any) -> str:
    if isinstance(output, Tensor):
        return f" with shape {tuple(output.shape)}"
    return f" with keys {list(output)}" if isinstance(output, Mapping) else ""


def crop_output(output: Any, padded: Sequence[int], size: tuple[int, int]) -> Any:
    """Return a localizer's output with every map of the padded size cut to the image's.

    Args:
        output: of any form; containers and objects come back as new ones of their type.
        padded: height and width that the localizer was called with.
        size: height and width of the image, which lies at the top left.
    """
    if isinstance(output, Tensor):
        is_spatial = output.ndim >= 3 and tuple(output.shape[-2:]) == tuple(padded)
        return output[..., : size[0], : size[1]] if is_spatial else output
    if isinstance(output, Mapping):
        return type(output)({k: crop_output(v, padded, size) for k, v in output.items()})  # type: ignore[call-arg]
    if isinstance(output, tuple | list):
        cropped = [crop_output(v, padded, size) for v in output]
        is_named = hasattr(output, "_fields")
        return type(output)(*cropped) if is_named else type(output)(cropped)
    return _crop_attributes(output, padded, size) if hasattr(output, "__dict__") else output


def _crop_attributes(output: Any, padded: Sequence[int], size: tuple[int, int]) -> Any:
    """Return a copy of an object whose attributes hold the mask, such as a dataclass."""
    cropped = copy.copy(output)
    for name, value in vars(output).items():
        if isinstance(value, Tensor | Mapping | tuple | list):
            object.__setattr__(cropped, name, crop_output(value, padded, size))  # frozen ones too
    return cropped
