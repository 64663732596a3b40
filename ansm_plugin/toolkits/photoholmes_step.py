"""What `toolkits.photoholmes` puts into a method and its pipeline: step, mark, cache name."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.localizer.traits import fingerprint

PREFIX = "ANSM_"
IMAGE = "image"
MARK = "ansm"
_PLAIN = (str, int, float, bool, type(None), tuple)
_PLACES = ("device", "training")  # settings of a method that change no output
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object without words of its own

Suppressor = DefendedLocalizer[nn.Identity]
Inputs = tuple[tuple[Any, ...], dict[str, Any]]


class SuppressNoise:
    """A first step for photoholmes' pipelines: raw RGB in, raw RGB with the perturbation out.

    Where the ANSM adds nothing the very image comes back. Else it is of the layout given, in grey
    levels: fp32, or 8 bit where `to_8_bit` says so or `ZeroOneRange` would take it for [0, 1].

    Args:
        suppressor: what `DEFENSE.build` returns.
        to_8_bit: whether to round to whole grey levels, for steps that take 8 bit only.
        device: where the ANSM computes; images come back to where they were.
    """

    def __init__(self, suppressor: Suppressor, *, to_8_bit: bool, device: str) -> None:
        self.suppressor = suppressor.requires_grad_(False).to(device)
        self.to_8_bit, self.device = to_8_bit, device

    def __call__(self, image: Any, **data: Any) -> dict[str, Any]:
        """Return the data with its image suppressed.

        Shape: a tensor `(3, H, W)` or an array `(H, W, 3)`; uint8, or floats in [0, 255].

        Raises:
            ImageError: it is no such image.
        """
        levels = _levels(image)
        delta = self.suppressor.perturbation(levels[None].to(self.device) / 255)[0]
        if not bool(delta.detach().any()):
            return {IMAGE: image, **data}
        suppressed = (levels + 255 * delta.to(levels.device)).clamp(0, 255)
        if self.to_8_bit or float(suppressed.detach().max()) <= 1:
            suppressed = suppressed.round().to(torch.uint8)
        if not isinstance(image, Tensor):
            return {IMAGE: suppressed.permute(1, 2, 0).numpy(), **data}
        return {IMAGE: suppressed, **data}


class Mark:
    """A last step for a pipeline: says which method its data were suppressed for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, **data: Any) -> dict[str, Any]:
        """Return the data with the mark."""
        return {**data, MARK: self.name}


class _Outermost:
    """Prepares what goes into the outer of two nested calls: `benchmark` may use `predict`."""

    ansm_is_inside: bool

    def predict(self, *args: Any, **data: Any) -> Any:
        return self._entered(super().predict, args, data)  # type: ignore[misc]

    def benchmark(self, *args: Any, **data: Any) -> Any:
        return self._entered(super().benchmark, args, data)  # type: ignore[misc]

    def _entered(
        self, call: Callable[..., Any], args: tuple[Any, ...], data: dict[str, Any]
    ) -> Any:
        if self.ansm_is_inside:
            return call(*args, **data)
        args, data = self._prepared(args, data)
        self.ansm_is_inside = True
        try:
            return call(*args, **data)
        finally:
            self.ansm_is_inside = False

    def _prepared(self, args: tuple[Any, ...], data: dict[str, Any]) -> Inputs:
        raise NotImplementedError


class Suppressing(_Outermost):
    """A method that suppresses the noise in its image itself."""

    ansm: Suppressor
    ansm_scale: float

    def _prepared(self, args: tuple[Any, ...], data: dict[str, Any]) -> Inputs:
        if args:
            return (self._suppress(args[0]), *args[1:]), data
        return args, {**data, IMAGE: self._suppress(data.get(IMAGE))}

    def _suppress(self, image: object) -> Tensor:
        if not isinstance(image, Tensor) or image.ndim not in (3, 4) or image.shape[-3] != 3:
            raise ImageError(f"a defended method takes an image (3, H, W); given {_kind(image)}.")
        batch = image if image.ndim == 4 else image[None]
        with torch.no_grad():
            delta = self.ansm.to(image.device).perturbation(batch.float() / self.ansm_scale)
        return (image + delta.view_as(image) * self.ansm_scale).to(image.dtype)


class Checking(_Outermost):
    """A method that takes nothing but what its own defended pipeline made."""

    def _prepared(self, args: tuple[Any, ...], data: dict[str, Any]) -> Inputs:
        name = type(self).__name__
        found = data.get(MARK)
        if args or found != name:
            came = f"through that of {found}" if found else "past it"
            raise ConfigError(
                f"{name} takes what the pipeline made that wrap_pipeline returned with it; this "
                f"image came {came}. Give that pipeline to the dataset as "
                "preprocessing_pipeline=, or call method.predict(**preprocessing(image=image))."
            )
        return args, {key: value for key, value in data.items() if key != MARK}


def subclassed(method: Any, way: type[_Outermost], name: str, **fields: Any) -> Any:
    """Return a copy of a method, of a class `name` that is `way` and the method's own.

    The copy shares its networks with `method`, which is not changed.
    """
    own: Any = type(name, (way, type(method)), {})
    copied = own.__new__(own)
    # Past nn.Module.__setattr__: what we add is no part of the method's state dict.
    copied.__dict__.update(method.__dict__, ansm_is_inside=False, **fields)
    return copied


def cache_name(
    method: Any, suppressor: Suppressor, *choices: object, steps: Iterable[object] = ()
) -> str:
    """Return a class name for a defended method: the benchmark keeps outputs under it.

    It ends in a digest of the weights of ANSM and method, their settings, our `choices`, and the
    `steps` of the pipeline with theirs.
    """
    parts: list[object] = [fingerprint(suppressor.ansm), *choices]
    if isinstance(suppressor.ansm, ANSM):
        parts.append(suppressor.ansm.bound)
    if isinstance(method, nn.Module):
        parts.append(fingerprint(method))
    parts += _settings(method)
    parts += [(type(step).__name__, _told(step), *_settings(step)) for step in steps]
    digest = hashlib.sha256(repr(parts).encode()).hexdigest()
    return f"{PREFIX}{type(method).__name__}_{digest[:10]}"


def _settings(thing: object) -> Iterator[tuple[str, object]]:
    """Yield names of a method's or a step's own values, with what tells them from others."""
    for name, value in sorted(getattr(thing, "__dict__", {}).items()):
        if isinstance(value, nn.Module):
            yield name, fingerprint(value)
        elif isinstance(value, _PLAIN) and name not in _PLACES:
            yield name, value
        elif not name.startswith("_") and name not in _PLACES:
            yield name, _told(value)


def _told(setting: object) -> str:
    """Return what tells a setting from others of its kind.

    Of a function that is its name and those of functions inside: Splicebuster's estimation of its
    mixture is one of two functions behind one decorator.
    """
    if not isinstance(setting, FunctionType):
        return _ADDRESS.sub("", repr(setting))
    cells = (cell.cell_contents for cell in setting.__closure__ or ())
    inside = [part.__qualname__ for part in cells if isinstance(part, FunctionType)]
    return " of ".join([setting.__qualname__, *inside])


def _levels(image: object) -> Tensor:
    """Return a raw image as grey levels `(3, H, W)`, fp32 in [0, 255]."""
    if isinstance(image, np.ndarray) and image.ndim == 3:
        planes = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
    else:
        planes = image if isinstance(image, Tensor) else torch.empty(0)
    if planes.ndim != 3 or planes.shape[0] != 3 or 0 in planes.shape:
        raise ImageError(
            f"the ANSM takes a raw RGB image, a tensor (3, H, W) or an array (H, W, 3); given "
            f"{_kind(image)}."
        )
    if planes.dtype == torch.uint8:
        return planes.float()
    low, high = planes.detach().aminmax()
    # Up to 1 it would be an image in [0, 1], for which there is no place in a raw image.
    if not planes.is_floating_point() or float(low) < 0 or not (high == 0 or 1 < high <= 255):
        raise ImageError(
            f"the ANSM takes raw RGB of 8 bit, or floats in grey levels 0 to 255; given "
            f"{_kind(image)} of values {float(low):g} to {float(high):g}. It stands first in the "
            "pipeline, before anything is divided or normalised."
        )
    return planes.float()


def _kind(image: object) -> str:
    if isinstance(image, Tensor | np.ndarray):
        return f"{type(image).__name__} {tuple(image.shape)} of {image.dtype}"
    return type(image).__name__
