"""Test double of photoholmes.methods.factory: `load` takes a name and a config, nothing else."""

from __future__ import annotations

from typing import Any

import torch

from photoholmes import preprocessing as steps
from photoholmes.methods import methods

_IMAGE = ["image"]
_JPEG = ["image", "qtables", "dct_coefficients"]
_PIPELINES: dict[str, tuple[type[Any], list[Any], list[str], list[str]]] = {
    "trufor": (methods.TruFor, [steps.ZeroOneRange()], _IMAGE, _IMAGE),
    "psccnet": (methods.PSCCNet, [steps.ZeroOneRange()], _IMAGE, _IMAGE),
    "focal": (methods.Focal, [], _IMAGE, _IMAGE),
    "exif_as_language": (
        methods.EXIFAsLanguage,
        [steps.ZeroOneRange(), steps.Normalize()],
        _IMAGE,
        _IMAGE,
    ),
    "adaptive_cfa_net": (
        methods.AdaptiveCFANet,
        [steps.GetImageSize(), steps.ZeroOneRange()],
        _IMAGE,
        ["image", "image_size"],
    ),
    "noisesniffer": (methods.Noisesniffer, [steps.ToNumpy()], _IMAGE, _IMAGE),
    "splicebuster": (
        methods.Splicebuster,
        [steps.ZeroOneRange(), steps.RGBtoGray(), steps.ToNumpy()],
        _IMAGE,
        _IMAGE,
    ),
    "zero": (
        methods.Zero,
        [steps.ToNumpy(), steps.AddImage99(), steps.RGBtoGray()],
        _IMAGE,
        ["image", "image_99"],
    ),
    "dq": (
        methods.DQ,
        [steps.GetImageSize(), steps.ToNumpy()],
        ["image", "dct_coefficients"],
        ["dct_coefficients", "image_size"],
    ),
    "catnet": (methods.CatNet, [steps.GetImageSize()], _JPEG, ["x", "qtable", "image_size"]),
}


class MethodFactory:
    """Gives a method and its pipeline; the pipelines are shared, as the host's are."""

    @staticmethod
    def load(method_name: str, config: dict[str, Any] | None = None) -> tuple[Any, Any]:
        kind, transforms, inputs, outputs = _PIPELINES[method_name]
        torch.manual_seed(0)
        settings = {k: v for k, v in (config or {}).items() if k != "weights"}
        pipeline = steps.PreProcessingPipeline(transforms, inputs, outputs)
        return kind(**settings), pipeline
