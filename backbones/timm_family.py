"""timm encoders under the reference head, e.g. `timm:convnext_tiny`.

timm models classify; to localize they need a head. The reference head is light: every encoder
stage is projected to `width` channels, enlarged to the finest one, summed, and turned into one
logit.

Shape suffixes: B batch, C channels of a feature, H height, W width (pixels).
"""

from __future__ import annotations

import difflib
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.backbones.query import (
    parse_query,
    refuse_option,
    require_timm_options,
    timm_options,
    unexpected_option,
)
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.traits import find_fixed_side, find_normalisation


class TimmLocalizer(nn.Module):
    """A timm encoder with the reference head: `(B, 3, H, W)` -> logits `(B, 1, H, W)`.

    Args:
        encoder: a timm model made with `features_only=True`.
        width: channels of the head.
    """

    def __init__(self, encoder: nn.Module, width: int = 64) -> None:
        super().__init__()
        self.encoder = encoder
        info: Any = encoder.feature_info
        self.channels: list[int] = info.channels()
        self.project = nn.ModuleList(nn.Conv2d(c, width, 1) for c in self.channels)
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 1, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return tamper logits at the size of the input."""
        stages = [
            _channels_first(s, c) for s, c in zip(self.encoder(images), self.channels, strict=True)
        ]
        size = stages[0].shape[-2:]
        projected = [
            functional.interpolate(p(s), size=size, mode="bilinear")
            for p, s in zip(self.project, stages, strict=True)
        ]
        fused: Tensor = self.head(torch.stack(projected).sum(0))
        return functional.interpolate(fused, size=images.shape[-2:], mode="bilinear")


def matches(localizer: nn.Module) -> bool:
    """Return whether the localizer is a timm encoder under the reference head."""
    return isinstance(localizer, TimmLocalizer)


def describe(localizer: nn.Module) -> LocalizerSpec:
    """Return how to talk to it: normalisation of the encoder, its middle stages as taps."""
    if not isinstance(localizer, TimmLocalizer):
        raise LocalizerError(f"{type(localizer).__name__} is not a timm localizer.")
    mean, std, source = find_normalisation(localizer)
    info: Any = localizer.encoder.feature_info
    stages = range(len(localizer.channels))
    chosen = list(stages)[1:3] if len(stages) > 2 else list(stages)
    side = find_fixed_side(localizer)
    layout = ":nhwc" if getattr(localizer.encoder, "output_fmt", "NCHW") == "NHWC" else ""
    return LocalizerSpec(
        family="timm",
        mean=mean,
        std=std,
        normalisation=source,
        stride=side or int(max(info.reduction())),
        taps=tuple(f"encoder[{index}]{layout}" for index in chosen),
    )


def build(query: str) -> nn.Module:
    """Build `name?option=value&...` with random weights and the reference head. No downloads.

    Raises:
        LocalizerError: timm does not know the name or an option (nearest names offered), or
            refuses a value.
    """
    import timm

    name, options = parse_query(query)
    if ":" in name:  # hf-hub: would download
        raise LocalizerError(f"{name!r} is not on this machine; give the name of a timm model.")
    require_timm_options({k: v for k, v in options.items() if k != "width"}, name)
    try:
        width = int(options.pop("width", 64))
        if width < 1:
            raise ValueError(f"width is {width}; it must be 1 or more")
        encoder = timm.create_model(name, pretrained=False, features_only=True, **options)
    except Exception as error:  # of whatever timm does with a value
        if (option := unexpected_option(error)) in options:
            raise refuse_option(option, name, {"width"} | timm_options(error)) from error
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f" Nearest: {', '.join(near)}." if near and name not in near else ""
        raise LocalizerError(f"timm cannot build {query!r}: {error}.{hint}") from error
    return TimmLocalizer(encoder, width)


def _channels_first(stage: Tensor, channels: int) -> Tensor:
    """Return NCHW whatever the encoder gives (Swin and its kin give NHWC)."""
    return stage if stage.shape[1] == channels else stage.permute(0, 3, 1, 2)
