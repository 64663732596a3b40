"""Localizers of segmentation_models_pytorch, e.g. `smp:Unet?encoder_name=resnet34`."""

from __future__ import annotations

import difflib
import inspect
from dataclasses import replace
from typing import Any

from torch import nn

from ansm_plugin.backbones.query import (
    parse_query,
    refuse_option,
    require_timm_options,
    timm_options,
    unexpected_option,
)
from ansm_plugin.backbones.smp_encoders import find_encoder_normalisation
from ansm_plugin.errors import LocalizerError, unknown_name
from ansm_plugin.localizer.probe import SIDES, probed_mask, seen_activation
from ansm_plugin.localizer.spec import Activation, LocalizerSpec
from ansm_plugin.localizer.traits import find_fixed_side

# Names of SMP 0.4 for options of today, which it still takes from its keyword arguments.
_OLD = {
    name: {"decoder_use_batchnorm"} for name in ("Unet", "UnetPlusPlus", "MAnet", "Linknet")
} | {"PSPNet": {"psp_use_batchnorm"}, "PAN": {"upscale_mode"}}


def matches(localizer: nn.Module) -> bool:
    """Return whether the localizer is an SMP segmentation model."""
    homes = (kind.__module__ for kind in type(localizer).__mro__)
    return any(home.startswith("segmentation_models_pytorch") for home in homes)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to an SMP model: head activation, stride, encoder stages as taps."""
    mean, std, source = find_encoder_normalisation(localizer)
    encoder: Any = localizer.encoder
    side = find_fixed_side(localizer)
    spec = LocalizerSpec(
        family="smp",
        mean=mean,
        std=std,
        normalisation=source,
        activation=_activation(localizer),
        stride=side or _stride(localizer),
        smallest=side or _smallest(localizer),
        taps=_encoder_taps(encoder),
    )
    return replace(spec, activation=_seen(localizer, spec)) if _has_own(localizer) else spec


def build(query: str) -> nn.Module:
    """Build an SMP model with random weights from `Architecture?option=value&...`.

    Values are read as numbers or comma-separated integers where they look so. Never downloads.

    Raises:
        LocalizerError: unknown architecture, encoder or option (nearest names offered), or SMP
            refuses a value.
    """
    import segmentation_models_pytorch as smp

    name, options = parse_query(query)
    known = [k.__name__ for k in smp.MODEL_ARCHITECTURES_MAPPING.values()]
    if name not in known:
        raise LocalizerError(unknown_name("SMP architecture", name, known))
    architecture: Any = getattr(smp, name)
    takes = set(inspect.signature(architecture).parameters) - {"kwargs"}
    encoder = str(options.get("encoder_name", "resnet34"))
    _require_encoder(encoder)
    _require_options(options, name, encoder, takes)
    try:
        model: nn.Module = architecture(**{**options, "encoder_weights": None})
    except Exception as error:  # of whatever SMP and timm do with a value
        # SMP hands encoders options of its own, too: these are no mistake in a name.
        if (option := unexpected_option(error)) in options:
            owner = f"{name} with {encoder}"
            raise refuse_option(option, owner, takes | timm_options(error)) from error
        hint = _nearest_of_timm(encoder)
        raise LocalizerError(f"SMP cannot build {query!r}: {error}{hint}") from error
    return model


def _require_options(options: dict[str, Any], name: str, encoder: str, takes: set[str]) -> None:
    """Raise LocalizerError for options that SMP would swallow.

    It hands what an architecture does not know to the encoder: those of timm judge it, SMP's own
    take no option at all and do not say so.
    """
    handed_on = {k: v for k, v in options.items() if k not in takes | _OLD.get(name, set())}
    if "encoder_output_stride" not in takes:
        handed_on.pop("output_stride", None)  # every encoder takes it, of any architecture
    require_timm_options(handed_on, f"{name} with {encoder}")
    if handed_on and not encoder.startswith("tu-"):
        raise refuse_option(next(iter(handed_on)), f"{name} with {encoder}", takes)


def _require_encoder(name: str) -> None:
    """Raise LocalizerError for an encoder that SMP does not have; timm judges `tu-` names."""
    from segmentation_models_pytorch.encoders import get_encoder_names

    if not name.startswith("tu-") and name not in get_encoder_names():
        hint = " Encoders of timm are written tu-NAME."
        raise LocalizerError(unknown_name("SMP encoder", name, get_encoder_names()) + hint)


def _nearest_of_timm(encoder: str) -> str:
    """Return a hint at the nearest encoders of timm, "" where there is one of that name."""
    import timm

    known = timm.list_models()
    if not encoder.startswith("tu-") or encoder[3:].partition(".")[0] in known:
        return ""
    near = difflib.get_close_matches(encoder[3:], known, n=3)
    return f" Nearest: {', '.join(f'tu-{name}' for name in near)}." if near else ""


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


def _has_own(localizer: nn.Module) -> bool:
    """Return whether a subclass of SMP's has another forward pass, which may end otherwise."""
    home = str(getattr(type(localizer).forward, "__module__", ""))
    return not home.startswith("segmentation_models_pytorch")


def _seen(localizer: nn.Module, spec: LocalizerSpec) -> Activation:
    """Return what the mask is seen to hold where the head says that it holds logits."""
    if spec.activation != "logits":
        return spec.activation
    side = max(spec.smallest, SIDES[0] + -SIDES[0] % spec.stride)
    return seen_activation(localizer, probed_mask(localizer, (side,)))
