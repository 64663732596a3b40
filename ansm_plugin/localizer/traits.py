"""What a localizer's modules say of themselves: normalisation, fixed sizes, fingerprint."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.families import inner
from ansm_plugin.localizer.guesses import Guess, how_to_say
from ansm_plugin.localizer.spec import IMAGENET_MEAN, IMAGENET_STD, Triple


def fingerprint(localizer: nn.Module) -> str:
    """Return the sha256 of the localizer's state: names, dtypes, shapes and values, in order.

    Wrappers that only pass images on change nothing of it: see `families.inner`.

    Raises:
        LocalizerError: its weights have no values here (meta device, offloaded).
    """
    return _sha256(inner(localizer).state_dict())


def fingerprints(localizer: nn.Module) -> Iterator[str]:
    """Yield the sha256 that files may have of a localizer, the usual one first.

    Releases before looked through no wrapper; and what was trained in fp32 may be run in fp64.

    Raises:
        LocalizerError: as in `fingerprint`.
    """
    state = inner(localizer).state_dict()
    narrowed = {
        name: value.float() if isinstance(value, Tensor) and value.dtype == torch.float64 else value
        for name, value in state.items()
    }
    yield _sha256(state)
    yield _sha256(localizer.state_dict())
    yield _sha256(narrowed)
    for prefix in ("module.", "_orig_mod."):
        yield _sha256({prefix + name: value for name, value in state.items()})


def _sha256(state: Mapping[str, Any]) -> str:
    digest = hashlib.sha256()
    for name, value in sorted(state.items(), key=itemgetter(0)):
        for text, content in _parts(name, value):
            digest.update(text.encode())
            digest.update(content)
    return digest.hexdigest()


def _parts(name: str, value: Any) -> Iterator[tuple[str, bytes]]:
    """Yield a line of text and the bytes of each tensor in an entry of a state.

    Quantised modules have tuples there, and `get_extra_state` gives what it likes.
    """
    if isinstance(value, Tensor):
        if value.is_meta:
            raise LocalizerError(
                f"the weights of this localizer have no values ({name} is on the meta device, or "
                "offloaded); load them, or move the localizer to a device, to tell which one it is."
            )
        dense = value.detach().cpu()
        dense = dense.dequantize() if dense.is_quantized else dense.to_dense()
        content = dense.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        yield f"{name} {value.dtype} {tuple(value.shape)}", content
    elif isinstance(value, Mapping):
        for key in sorted(value, key=str):
            yield from _parts(f"{name}.{key}", value[key])
    elif isinstance(value, tuple | list):
        for index, entry in enumerate(value):
            yield from _parts(f"{name}.{index}", entry)
    else:
        yield f"{name} {type(value).__name__}", _plain_bytes(value)


def _plain_bytes(value: object) -> bytes:
    """Return what an entry that is no tensor holds; nothing of kinds that have no fixed form."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    if isinstance(value, io.BytesIO):
        return value.getvalue()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    is_simple = value is None or isinstance(value, bool | int | float | str | torch.dtype)
    return repr(value).encode() if is_simple else b""


def find_normalisation(localizer: nn.Module) -> tuple[Triple, Triple, str]:
    """Return mean, std and where they were found; ImageNet with a warning if nowhere.

    Asked of the first module with a `pretrained_cfg`, as timm's have one; a warning names another
    one that says otherwise. Mean and std are of each colour channel, for pixels in [0, 1].
    """
    said = list(_normalisations(localizer))
    if not said:
        text = (
            f"{type(localizer).__name__} does not say how its input is normalised; ImageNet mean "
            "and std are assumed. If it was trained otherwise, give "
            f"{how_to_say('mean', 'std')}."
        )
        warnings.warn(Guess(text, "mean", "std"), stacklevel=2)
        return IMAGENET_MEAN, IMAGENET_STD, "assumed ImageNet"
    mean, std, where = said[0]
    for others_mean, others_std, elsewhere in said[1:]:
        if (others_mean, others_std) != (mean, std):
            text = (
                f"{type(localizer).__name__} has two normalisations: mean {mean} and std {std} by "
                f"{where}, mean {others_mean} and std {others_std} by {elsewhere}. The first is "
                f"taken; say which is right by {how_to_say('mean', 'std')}."
            )
            warnings.warn(Guess(text, "mean", "std"), stacklevel=2)
            break
    return mean, std, where


def _normalisations(localizer: nn.Module) -> Iterator[tuple[Triple, Triple, str]]:
    for name, module in localizer.named_modules():
        config = getattr(module, "pretrained_cfg", None)
        fields = config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
        if (mean := fields.get("mean")) is not None and (std := fields.get("std")) is not None:
            where = f"pretrained_cfg of {name or type(module).__name__}"
            yield _triple(mean), _triple(std), where


def find_fixed_side(localizer: nn.Module) -> int | None:
    """Return the only height and width that an encoder of fixed size takes in pixels, or None.

    Asked of timm's patch embeddings (ViT, Swin) and, where timm records it, of the whole encoder
    (CoAtNet, MaxViT). Smaller images are padded up to it; larger ones the encoder refuses.
    """
    for module in localizer.modules():
        size = getattr(module, "img_size", None)
        if getattr(module, "strict_img_size", False) and isinstance(size, tuple):
            return int(max(size))
        traits = getattr(module, "_traits", {})
        if isinstance(traits, Mapping) and traits.get("fixed_input_size"):
            config = getattr(module, "pretrained_cfg", None) or {}
            return int(max(traits.get("img_size") or config.get("input_size", (3, 224, 224))[-2:]))
    return None


def _triple(values: Sequence[float]) -> Triple:
    r, g, b = (float(v) for v in values)
    return r, g, b
