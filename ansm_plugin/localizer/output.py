"""The mask inside whatever a localizer returns.

Shape suffixes: B batch, C classes of a mask, H height, W width (pixels or cells of a map).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.maps import cut_to_image, lies_over
from ansm_plugin.localizer.queries import find_queries, mask_of_queries

_MASK_KEYS = ("pred_mask", "mask", "logits", "out")  # IMDLBenCo, generic, Hugging Face, torchvision


def find_mask(output: Any, key: str | int | None, size: tuple[int, int] | None = None) -> Tensor:
    """Return the mask in a localizer's output, as it is.

    Args:
        output: a tensor; or a mapping, a tuple or list, or an object that holds one.
        key: key, index or attribute of the mask; None tries the product of class and mask queries
            (Mask2Former), then the usual names, or takes the first.
        size: height and width that the localizer was called with. Three-dimensional tensors whose
            last two sizes are in no relation to it, such as the boxes of a detector, are refused;
            None takes them.

    Returns:
        `(B, C, H, W)` or `(B, H, W)`, in the range and dtype of the localizer.

    Raises:
        LocalizerError: there is no such tensor.
    """
    if key is None and (queries := find_queries(output)) is not None:
        return mask_of_queries(*queries)
    found = _select(output, key)
    if isinstance(found, Tensor) and found.ndim == 3 and size is not None:
        _require_map(found, size)
    if isinstance(found, Tensor) and found.ndim in (3, 4):
        return found
    raise LocalizerError(
        f"no mask found in the localizer's output of type {type(output).__name__}"
        f"{_outline(output)}; allowed: a (B, C, H, W) tensor, alone, first in a tuple, or under "
        f"one of {', '.join(_MASK_KEYS)}. Pass spec=LocalizerSpec(mask_key=...) to name it."
    )


def _require_map(found: Tensor, size: tuple[int, int]) -> None:
    """Raise LocalizerError unless `(B, H, W)` can be one mask for each image of this size."""
    height, width = found.shape[-2:]
    if not lies_over((height, width), size):
        raise LocalizerError(
            f"the localizer's output has shape {tuple(found.shape)}, which is no mask (B, H, W) of "
            f"an image {size[0]} high and {size[1]} wide, nor of a whole fraction of it, but may "
            "be boxes or tokens. Allowed: a mask (B, C, H, W) of any size. Return that, or pass "
            "spec=LocalizerSpec(mask_key=...) to name it where the output holds several tensors."
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
    """Return a localizer's output with every map of the padded image cut to the image's part.

    Maps may have a whole fraction of the padded size (a stride): see `cut_to_image`.

    Args:
        output: of any form; containers and objects come back as new ones of their type.
        padded: height and width that the localizer was called with.
        size: height and width of the image, which lies at the top left.
    """
    if isinstance(output, Tensor):
        return cut_to_image(output, (padded[0], padded[1]), size)
    if isinstance(output, Mapping):
        return type(output)({k: _crop_entry(k, v, padded, size) for k, v in output.items()})  # type: ignore[call-arg]
    if isinstance(output, tuple | list):
        cropped = [crop_output(v, padded, size) for v in output]
        is_named = hasattr(output, "_fields")
        return type(output)(*cropped) if is_named else type(output)(cropped)
    return _crop_attributes(output, padded, size) if hasattr(output, "__dict__") else output


def _crop_entry(name: Any, value: Any, padded: Sequence[int], size: tuple[int, int]) -> Any:
    """Return what stands under a name, cropped; attentions are tokens by tokens and no maps."""
    is_map = not str(name).endswith("attentions")
    return crop_output(value, padded, size) if is_map else value


def _crop_attributes(output: Any, padded: Sequence[int], size: tuple[int, int]) -> Any:
    """Return a copy of an object whose attributes hold the mask, such as a dataclass."""
    cropped = copy.copy(output)
    for name, value in vars(output).items():
        if isinstance(value, Tensor | Mapping | tuple | list):
            part = _crop_entry(name, value, padded, size)
            object.__setattr__(cropped, name, part)  # frozen ones too
    return cropped
