"""Localizers of segmentation_models_pytorch, e.g. `smp:Unet?encoder_name=resnet34`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from torch import nn

from ansm_plugin.errors import LocalizerError, unknown_name
from ansm_plugin.localizer import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Activation,
    LocalizerSpec,
    Triple,
    find_normalisation,
)

_HALF: Triple = (0.5, 0.5, 0.5)


def matches(localizer: nn.Module) -> bool:
    """Return whether the localizer is an SMP segmentation model."""
    return any(
        kind.__module__.startswith("segmentation_models_pytorch") for kind in type(localizer).__mro__
    )


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to an SMP model: head activation, stride, encoder stages as taps."""
    mean, std, source = _normalisation(localizer)
    return LocalizerSpec(
        family="smp",
        mean=mean,
        std=std,
        normalisation=source,
        activation=_activation(localizer),
        stride=int(localizer.encoder.output_stride),  # type: ignore[arg-type, union-attr]
        taps=_encoder_taps(localizer.encoder),
    )


def build(query: str) -> nn.Module:
    """Build an SMP model with random weights from `Architecture?option=value&...`.

    Values are read as numbers or comma-separated integers where they look so. Never downloads.

    Raises:
        LocalizerError: unknown architecture, or SMP refuses the options.
    """
    import segmentation_models_pytorch as smp

    name, _, options = query.partition("?")
    known = [k.__name__ for k in smp.MODEL_ARCHITECTURES_MAPPING.values()]
    if name not in known:
        raise LocalizerError(unknown_name("SMP architecture", name, known))
    try:
        keywords = {k: parse_value(v) for k, v in parse_qsl(options, strict_parsing=bool(options))}
        model: nn.Module = getattr(smp, name)(**{**keywords, "encoder_weights": None})
    except (KeyError, TypeError, ValueError) as error:
        raise LocalizerError(f"SMP cannot build {query!r}: {error}") from error
    return model


def parse_value(text: str) -> Any:
    """Read "3" as int, "0.5" as float, "64,32" as a tuple of ints, anything else as text."""
    if text.lower() in ("true", "false", "none"):
        return {"true": True, "false": False, "none": None}[text.lower()]
    if "," in text:
        return tuple(parse_value(part) for part in text.split(","))
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _encoder_taps(encoder: Any) -> tuple[str, ...]:
    """Return the second and third of the real stages of an encoder (method.md section 1.3).

    The first entry of SMP's feature list is the image itself for most encoders, and transformers
    have an empty second one; neither carries a feature.
    """
    stages = [i for i, channels in enumerate(encoder.out_channels) if i > 0 and channels > 0]
    chosen = stages[1:3] if len(stages) > 2 else stages
    return tuple(f"encoder[{index}]" for index in chosen)


def _activation(localizer: nn.Module) -> Activation:
    head = localizer.segmentation_head[-1].activation  # type: ignore[index, union-attr]
    if isinstance(head, nn.Identity):
        return "logits"
    if isinstance(head, nn.Sigmoid):
        return "sigmoid"
    if isinstance(head, nn.Softmax):
        return "softmax"
    raise LocalizerError(
        f"the head ends in {type(head).__name__}; allowed: none, Sigmoid, Softmax. "
        "Pass spec=LocalizerSpec(activation=...) to say what the mask holds."
    )


def _normalisation(localizer: nn.Module) -> tuple[Triple, Triple, str]:
    """Look at timm configs first, then at the encoder's name; SMP's own lookup needs the network."""
    name = str(getattr(localizer, "config", {}).get("encoder_name", ""))
    if not name or any(hasattr(m, "pretrained_cfg") for m in localizer.modules()):
        return find_normalisation(localizer)
    if name.startswith(("inception", "xception")):
        return _HALF, _HALF, f"SMP encoder {name}: 0.5"
    return IMAGENET_MEAN, IMAGENET_STD, f"SMP encoder {name}: ImageNet"
