"""Localizers of segmentation_models_pytorch, e.g. `smp:Unet?encoder_name=resnet34`."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from torch import nn

from ansm_plugin.errors import LocalizerError, unknown_name
from ansm_plugin.localizer.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Activation,
    LocalizerSpec,
    Triple,
)
from ansm_plugin.localizer.traits import find_fixed_side, find_normalisation
from ansm_plugin.system.text import parse_value

_HALF: Triple = (0.5, 0.5, 0.5)


def matches(localizer: nn.Module) -> bool:
    """Return whether the localizer is an SMP segmentation model."""
    homes = (kind.__module__ for kind in type(localizer).__mro__)
    return any(home.startswith("segmentation_models_pytorch") for home in homes)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to an SMP model: head activation, stride, encoder stages as taps."""
    mean, std, source = _normalisation(localizer)
    encoder: Any = localizer.encoder
    side = find_fixed_side(localizer)
    return LocalizerSpec(
        family="smp",
        mean=mean,
        std=std,
        normalisation=source,
        activation=_activation(localizer),
        stride=side or _stride(localizer),
        smallest=side or _smallest(localizer),
        taps=_encoder_taps(encoder),
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
        _require_encoder(str(keywords.get("encoder_name", "resnet34")))
        model: nn.Module = getattr(smp, name)(**{**keywords, "encoder_weights": None})
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise LocalizerError(f"SMP cannot build {query!r}: {error}") from error
    return model


def _require_encoder(name: str) -> None:
    """Raise LocalizerError for an encoder that SMP does not have; timm judges `tu-` names."""
    from segmentation_models_pytorch.encoders import get_encoder_names

    if not name.startswith("tu-") and name not in get_encoder_names():
        hint = " Encoders of timm are written tu-NAME."
        raise LocalizerError(unknown_name("SMP encoder", name, get_encoder_names()) + hint)


def _stride(localizer: nn.Module) -> int:
    encoder: Any = localizer.encoder
    if not getattr(localizer, "requires_divisible_input_shape", True):
        return 1  # Unet takes any size itself, and padding would change what it returns
    # DPT halves the tokens of its encoder once more, and SMP does not say so.
    return int(encoder.output_stride) * (2 if type(localizer).__name__ == "DPT" else 1)


def _smallest(localizer: nn.Module) -> int:
    encoder: Any = localizer.encoder
    if type(localizer).__name__ == "PAN":
        return 8 * int(encoder.output_stride)  # its pyramid halves the last stage three times
    # Encoders that are cut short (PSPNet) or dilated still need 32 pixels for their kernels.
    return max(32, int(encoder.output_stride))


def _encoder_taps(encoder: Any) -> tuple[str, ...]:
    """Return the second and third of the real stages of an encoder (method.md section 1.3).

    The first entry of SMP's feature list is the image itself for most encoders, and transformers
    have an empty second one; neither carries a feature.
    """
    stages = [i for i, channels in enumerate(encoder.out_channels) if i > 0 and channels > 0]
    chosen = stages[1:3] if len(stages) > 2 else stages
    return tuple(f"encoder[{index}]" for index in chosen)


def _activation(localizer: nn.Module) -> Activation:
    head: Any = localizer.segmentation_head
    # The last module of the head with this name holds the function; before it come containers.
    last = [m.activation for m in head.modules() if hasattr(m, "activation")][-1]
    kinds: dict[type, Activation] = {
        nn.Identity: "logits",
        nn.Sigmoid: "sigmoid",
        nn.Softmax: "softmax",
    }
    for kind, name in kinds.items():
        if isinstance(last, kind):
            return name
    raise LocalizerError(
        f"the head ends in {type(last).__name__}; allowed: none, Sigmoid, Softmax. "
        "Pass spec=LocalizerSpec(activation=...) to say what the mask holds."
    )


def _normalisation(localizer: nn.Module) -> tuple[Triple, Triple, str]:
    """Look at timm configs, then at the encoder's name; SMP's own lookup needs the network."""
    name = str(getattr(localizer, "config", {}).get("encoder_name", ""))
    if not name or any(hasattr(m, "pretrained_cfg") for m in localizer.modules()):
        return find_normalisation(localizer)
    if name.startswith(("inception", "xception")):
        return _HALF, _HALF, f"SMP encoder {name}: 0.5"
    return IMAGENET_MEAN, IMAGENET_STD, f"SMP encoder {name}: ImageNet"
