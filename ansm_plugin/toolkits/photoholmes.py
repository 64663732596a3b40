"""photoholmes: its methods behind an ANSM, for its unmodified `Benchmark`.

    method, preprocessing = MethodFactory.load("trufor", config={"weights": "trufor.pth.tar"})
    method, preprocessing = wrap_pipeline(method, preprocessing, "ansm.safetensors")

Its registry is closed, so this one line is the way in. The benchmark keeps outputs under the name
of the method's class and reuses them; a wrapped method has a name of its own, with a digest of all
weights: `ANSM_TruFor_1f0c99a3d2`.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

from ansm_plugin.errors import ConfigError
from ansm_plugin.offer import DEFENSE
from ansm_plugin.toolkits.photoholmes_step import (
    IMAGE,
    MARK,
    PREFIX,
    Checking,
    Mark,
    Suppressing,
    SuppressNoise,
    cache_name,
    subclassed,
)

_UNREACHED = ("dct_coefficients", "qtables")
_OF_8_BIT = "AddImage99"  # of Zero's pipeline: PIL, which takes no floats
_WHOLE = "wrap_pipeline(method, preprocessing, weights), which stands before all steps"


def wrap_pipeline(
    method: Any,
    preprocessing: Any,
    weights: str | None = None,
    *,
    preset: str | None = None,
    to_8_bit: bool | None = None,
    device: str = "cpu",
) -> tuple[Any, Any]:
    """Return a method and its pipeline with an ANSM as the pipeline's first step.

    There every image is raw RGB, so this serves methods of all kinds. Copies are returned; the
    method's shares its networks with `method`. They belong together: the method refuses data that
    another pipeline made, and the bare method refuses those of this one.

    Args:
        method: an instance of a photoholmes method.
        preprocessing: its pipeline, which `MethodFactory.load` returns beside it.
        weights: safetensors of the ANSM; None gives an untrained one, which changes nothing.
        preset: of an untrained ANSM.
        to_8_bit: whether the suppressed image is rounded to whole grey levels; None does so where
            the pipeline holds a step that takes 8 bit only, and keeps fp32 elsewhere.
        device: where the ANSM computes.

    Raises:
        ConfigError: they are wrapped already, are not a method and its pipeline, or the method
            takes inputs that a change of the image does not reach.
        AnsmError: the weights or the preset cannot be used.
    """
    kind = type(method).__name__
    _require_bare(method)
    steps = _steps(kind, preprocessing)
    _require_reached(kind, preprocessing)
    rounds = _OF_8_BIT in map(_name, steps) if to_8_bit is None else to_8_bit
    step = SuppressNoise(DEFENSE.build(weights, preset=preset), to_8_bit=rounds, device=device)
    name = cache_name(method, step.suppressor, "pipeline", rounds, steps=steps)
    pipeline = copy.copy(preprocessing)
    pipeline.transforms = [step, *steps, Mark(name)]
    pipeline.outputs_keys = [*preprocessing.outputs_keys, MARK]
    return subclassed(method, Checking, name), pipeline


def wrap_method(
    method: Any,
    weights: str | None = None,
    *,
    preprocessing: Any = None,
    scale: float | None = None,
    preset: str | None = None,
) -> Any:
    """Return a copy of a method that suppresses adversarial noise in its image first.

    For who calls a method without a pipeline of the host; else see `wrap_pipeline`, which serves
    twice as many methods. The copy shares its networks with `method`, which is not changed.

    Args:
        method: an instance of a photoholmes method that takes a colour image, `(3, H, W)`.
        weights: safetensors of the ANSM; None gives an untrained one, which changes nothing.
        preprocessing: the method's pipeline; tells its inputs and the range of its image.
        scale: of the image the method takes, 1 for [0, 1] and 255 for grey levels; None asks
            `preprocessing`.
        preset: of an untrained ANSM.

    Raises:
        ConfigError: the method is wrapped already, the range of its image is not known, or it
            takes arrays, or inputs that a change of the image does not reach.
        AnsmError: the weights or the preset cannot be used.
    """
    kind = type(method).__name__
    _require_bare(method)
    steps = [] if preprocessing is None else _steps(kind, preprocessing)
    if preprocessing is not None:
        _require_reached(kind, preprocessing)
    _require_tensors(method, list(map(_name, steps)))
    if scale is None:
        scale = _scale(kind, None if preprocessing is None else list(map(_name, steps)))
    suppressor = DEFENSE.build(weights, preset=preset)
    name = cache_name(method, suppressor, "method", scale, steps=steps)
    return subclassed(method, Suppressing, name, ansm=suppressor, ansm_scale=scale)


def _require_bare(method: Any) -> None:
    if type(method).__name__.startswith(PREFIX):
        raise ConfigError(f"this method is wrapped already: {type(method).__name__}.")


def _steps(kind: str, preprocessing: Any) -> list[Any]:
    """Return the steps of a pipeline that is not wrapped yet."""
    parts = ("transforms", "inputs", "outputs_keys")
    if not all(isinstance(getattr(preprocessing, part, None), list) for part in parts):
        raise ConfigError(
            f"the preprocessing of {kind} is {_name(preprocessing)}; pass the "
            "PreProcessingPipeline that MethodFactory.load returns beside the method."
        )
    steps = list(preprocessing.transforms)
    if any(isinstance(step, SuppressNoise) for step in steps):
        raise ConfigError(
            f"this pipeline of {kind} is wrapped already; pass the one that MethodFactory.load "
            "returned."
        )
    return steps


def _require_reached(kind: str, preprocessing: Any) -> None:
    inputs = list(map(str, preprocessing.inputs))
    outputs = list(map(str, preprocessing.outputs_keys))
    beyond = sorted({*inputs, *outputs} & {*_UNREACHED})
    if beyond:
        raise ConfigError(
            f"{kind} reads {', '.join(beyond)}, computed from the file and not from the image; an "
            "ANSM cannot reach them, and half a defence is not evaluated as one."
        )
    if IMAGE not in inputs or IMAGE not in outputs:
        raise ConfigError(f"{kind} takes {', '.join(outputs)}; an ANSM needs {IMAGE!r}.")


def _require_tensors(method: Any, steps: list[str]) -> None:
    parameter = inspect.signature(method.predict).parameters.get(IMAGE)
    annotation = "" if parameter is None else str(parameter.annotation)
    if "ToNumpy" in steps or "ndarray" in annotation.lower():
        raise ConfigError(
            f"{type(method).__name__} takes its image as a numpy array; an ANSM takes a tensor. "
            f"Use {_WHOLE}."
        )


def _scale(kind: str, steps: list[str] | None) -> float:
    """Return 255 where a pipeline hands on grey levels, 1 where it divides them."""
    if steps is None:
        raise ConfigError(
            f"the range of the image that {kind} takes is not known: pass preprocessing=, which "
            "MethodFactory.load returns beside the method, or scale=1 for images in [0, 1], "
            "scale=255 for grey levels."
        )
    changing = [step for step in steps if "Normali" in step or step == "RGBtoGray"]
    if changing:
        raise ConfigError(
            f"{kind} takes images after {changing[0]}, neither in [0, 1] nor in grey levels; an "
            f"ANSM stands before it. Use {_WHOLE}."
        )
    return 1.0 if "ZeroOneRange" in steps else 255.0


def _name(thing: object) -> str:
    return type(thing).__name__
