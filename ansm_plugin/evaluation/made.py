"""Forged crops that suit a localizer, where nobody gives pictures with masks."""

from __future__ import annotations

from dataclasses import replace

from ansm_plugin.data.crops import DataConfig
from ansm_plugin.weights.catalogue_card import MadeCrops


def suited(
    data: DataConfig, crops: MadeCrops, *, authentic: float, size: int | None = None
) -> DataConfig:
    """Return a config whose forgeries have the style and the size that a card says.

    Args:
        data: where the photographs come from; its other choices stay.
        crops: what the card says, see `backbones.reference.crops_of`.
        authentic: share of crops that are left untouched.
        size: side of the crops in pixels; None takes what the card says.

    Raises:
        ConfigError: crops of the style have no such size.
    """
    size = size or crops.size
    if crops.style == "planted":
        planted = replace(data.forgeries, size=size, authentic=authentic)
        return replace(data, style=crops.style, forgeries=planted)
    photographic = replace(data.photographic, size=size, authentic=authentic)
    return replace(data, style=crops.style, photographic=photographic)


def all_authentic(data: DataConfig) -> DataConfig:
    """Return a config none of whose crops is forged."""
    return suited(data, MadeCrops(style=data.style), authentic=1.0, size=data.size)
