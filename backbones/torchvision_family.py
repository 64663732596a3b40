"""Segmentation models of torchvision, e.g. `torchvision:deeplabv3_resnet50?num_classes=1`.

DeepLabV3, FCN and LRASPP with ResNet or MobileNet: they return a dict whose `out` is the mask, take
images of any size, and were trained with the normalisation of ImageNet.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from ansm_plugin.backbones.labels import FORGED, forged_class
from ansm_plugin.backbones.query import parse_query, refuse_option
from ansm_plugin.errors import LocalizerError, unknown_name
from ansm_plugin.localizer.spec import IMAGENET_MEAN, IMAGENET_STD, LocalizerSpec

_HOME = "torchvision.models.segmentation"
# Encoder stages of stride 8, and of 16 or what is dilated instead: of ResNet, of MobileNet.
_STAGES = (("layer2", "layer3"), ("6", "12"))


def matches(localizer: nn.Module) -> bool:
    """Return whether the localizer is a segmentation model of torchvision, or a subclass."""
    homes = (kind.__module__ for kind in type(localizer).__mro__)
    is_whole = hasattr(localizer, "backbone") and hasattr(localizer, "classifier")
    return is_whole and any(home.startswith(_HOME) for home in homes)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to it: ImageNet's normalisation, `out` as mask, encoder stages as taps.

    Raises:
        LocalizerError: more than two classes, and nobody says which means forged.
    """
    said = getattr(localizer, FORGED, None)
    name = type(localizer).__name__
    return LocalizerSpec(
        family="torchvision",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        normalisation="torchvision: ImageNet",
        tamper_class=forged_class(name, _classes(localizer), said, {}),
        mask_key="out",
        taps=_taps(localizer),
    )


def build(query: str) -> nn.Module:
    """Build `name?num_classes=1&option=value&...` with random weights. Never downloads.

    Without `num_classes` there is one class, the forged one. `forged=INDEX` says which it is where
    there are more than two.

    Raises:
        LocalizerError: unknown model or option (nearest names offered), or torchvision refuses a
            value.
    """
    from torchvision import models

    name, options = parse_query(query)
    known = models.list_models(module=models.segmentation)
    if name not in known:
        raise LocalizerError(unknown_name("segmentation model of torchvision", name, known))
    takes = {
        p for p in inspect.signature(models.get_model_builder(name)).parameters if p != "kwargs"
    }
    fetching = {"weights", "weights_backbone", "progress"}
    forged = options.pop(FORGED, None)
    for option in options:
        if option in fetching or option not in takes:
            raise refuse_option(option, name, (takes | {FORGED}) - fetching)
    arguments = {"num_classes": 1, **options, "weights": None, "weights_backbone": None}
    try:
        model: nn.Module = models.get_model(name, **arguments)
    except Exception as error:  # of whatever torchvision does with a value
        raise LocalizerError(f"torchvision cannot build {query!r}: {error}") from error
    if forged is not None:
        forged_class(name, _classes(model), forged, {})
        setattr(model, FORGED, forged)
    return model


def _classes(localizer: nn.Module) -> int:
    """Return how many channels the mask has: those of the last convolution of the head."""
    head: Any = localizer.classifier
    if (last := getattr(head, "high_classifier", None)) is None:  # LRASPP has two, and adds them
        last = [m for m in head.modules() if isinstance(m, nn.Conv2d)][-1]
    return int(last.out_channels)


def _taps(localizer: nn.Module) -> tuple[str, ...]:
    names = {name for name, _ in localizer.named_modules()}
    for stages in _STAGES:
        taps = tuple(f"backbone.{stage}" for stage in stages)
        if names.issuperset(taps):
            return taps
    return ()
