"""What we know of a localizer, and how it is called."""

from ansm_plugin.localizer.call import call_padded, mask_forward, require_pixels
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Activation,
    LocalizerSpec,
    Triple,
)
from ansm_plugin.localizer.traits import find_fixed_side, find_normalisation, fingerprint

__all__ = [
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "Activation",
    "LocalizerSpec",
    "Triple",
    "call_padded",
    "describe",
    "find_fixed_side",
    "find_normalisation",
    "fingerprint",
    "mask_forward",
    "require_pixels",
]
