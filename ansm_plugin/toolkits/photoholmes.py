"""photoholmes: a method with an ANSM in front of it, for its unmodified `Benchmark`.

    method, preprocessing = MethodFactory.load("trufor", ...)
    method = wrap_method(method, "ansm.safetensors", preprocessing=preprocessing)

Its registry is closed, so this one line is the way in. The benchmark keeps outputs under the name
of the method's class; the wrapped method has one of its own, `ANSM_TruFor`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.offer import DEFENSE

PREFIX = "ANSM_"
_IMAGE = "image"
_UNREACHED = ("dct_coefficients", "qtables")


def wrap_method(
    method: Any,
    weights: str | None = None,
    *,
    preprocessing: Any = None,
    scale: float | None = None,
    preset: str | None = None,
) -> Any:
    """Return a copy of a method that suppresses adversarial noise in its image first.

    The copy shares its networks with `method`, which is not changed.

    Args:
        method: an instance of a photoholmes method that takes an image, `(3, H, W)`.
        weights: safetensors of the ANSM; None gives an untrained one, which changes nothing.
        preprocessing: the method's pipeline; tells its inputs and the range of its image.
        scale: of the image the method takes, 1 for [0, 1] and 255 for grey levels; None asks
            `preprocessing`, and without one takes 1.
        preset: of an untrained ANSM.

    Raises:
        ConfigError: the method is wrapped already, or takes inputs that a change of the image
            does not reach.
        AnsmError: the weights or the preset cannot be used.
    """
    kind = type(method)
    if kind.__name__.startswith(PREFIX):
        raise ConfigError(f"this method is wrapped already: {kind.__name__}.")
    _require_image_only(kind.__name__, preprocessing)
    own: Any = type(PREFIX + kind.__name__, (_Defended, kind), {})
    defended = own.__new__(own)
    # Past nn.Module.__setattr__: the suppressor is no part of the method's state dict.
    defended.__dict__.update(
        method.__dict__,
        ansm=DEFENSE.build(weights, preset=preset),
        ansm_scale=_scale(kind.__name__, preprocessing) if scale is None else scale,
        ansm_is_done=False,
    )
    return defended


class _Defended:
    """Puts `ansm` in front of the two calls by which photoholmes runs a method."""

    ansm: DefendedLocalizer[nn.Identity]
    ansm_scale: float
    ansm_is_done: bool

    def predict(self, *args: Any, **data: Any) -> Any:
        return self._suppressed_once(super().predict, args, data)  # type: ignore[misc]

    def benchmark(self, *args: Any, **data: Any) -> Any:
        return self._suppressed_once(super().benchmark, args, data)  # type: ignore[misc]

    def _suppressed_once(
        self, call: Callable[..., Any], args: tuple[Any, ...], data: dict[str, Any]
    ) -> Any:
        """Suppress the image in the outer of two nested calls: `benchmark` may use `predict`."""
        if self.ansm_is_done:
            return call(*args, **data)
        if args:
            args = (self._suppress(args[0]), *args[1:])
        else:
            data = {**data, _IMAGE: self._suppress(data.get(_IMAGE))}
        self.ansm_is_done = True
        try:
            return call(*args, **data)
        finally:
            self.ansm_is_done = False

    def _suppress(self, image: object) -> Tensor:
        if not isinstance(image, Tensor) or image.ndim not in (3, 4) or image.shape[-3] != 3:
            given = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
            raise ImageError(f"a defended method takes an image (3, H, W); given {given}.")
        batch = image if image.ndim == 4 else image[None]
        with torch.no_grad():
            delta = self.ansm.to(image.device).perturbation(batch.float() / self.ansm_scale)
        return (image + delta.view_as(image) * self.ansm_scale).to(image.dtype)


def _require_image_only(name: str, preprocessing: Any) -> None:
    inputs = [str(i) for i in getattr(preprocessing, "inputs", [_IMAGE])]
    outputs = list(map(str, getattr(preprocessing, "outputs_keys", [_IMAGE])))
    beyond = sorted({*inputs, *outputs} & {*_UNREACHED})
    if beyond:
        raise ConfigError(
            f"{name} reads {', '.join(beyond)}, computed from the file and not from the image; an "
            "ANSM cannot reach them, and half a defence is not evaluated as one."
        )
    if _IMAGE not in outputs:
        raise ConfigError(f"{name} takes {', '.join(outputs)}; an ANSM needs {_IMAGE!r}.")


def _scale(name: str, preprocessing: Any) -> float:
    """Return 255 where a pipeline hands on grey levels, 1 where it divides them."""
    if preprocessing is None:
        return 1.0
    steps = [type(step).__name__ for step in getattr(preprocessing, "transforms", [])]
    normalising = [step for step in steps if "Normali" in step]
    if normalising:
        raise ConfigError(
            f"{name} takes images after {normalising[0]}, neither in [0, 1] nor in grey levels; "
            "an ANSM stands before it. Normalise inside the method, or pass scale= if it does."
        )
    return 1.0 if "ZeroOneRange" in steps else 255.0
