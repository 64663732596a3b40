"""The reference localizers, and how a localizer is named on the command line.

`NAME` of a reference localizer, `smp:Unet?encoder_name=resnet34`, `timm:convnext_tiny`,
`module:function` of the user's own code; each with optional `@weights.safetensors`.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from torch import nn

from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.registry import family, family_names
from ansm_plugin.weights import load_localizer_weights

# Trained by `ansm train localizer` on built-in photographs; the weights come with the package.
REFERENCE = {
    "forensic-unet": "smp:Unet?encoder_name=tu-regnetx_002&encoder_depth=4"
    "&decoder_channels=96,48,32,16",
}
DEFAULT_LOCALIZER = "forensic-unet"


def build_localizer(name: str) -> nn.Module:
    """Build the localizer of a command-line name, in eval mode.

    A reference name without `@weights` comes with its packaged weights; other names without
    `@weights` have random ones.

    Raises:
        ConfigError: neither a reference name nor `family:...`, with the nearest names.
        LocalizerError: the family cannot build it.
        WeightsError: the weights cannot be read or do not fit.
    """
    base, _, weights = name.partition("@")
    if base in REFERENCE:
        localizer = build_architecture(base)
        load_localizer_weights(localizer, Path(weights) if weights else packaged_weights(base))
    else:
        localizer = build_architecture(base)
        if weights:
            load_localizer_weights(localizer, Path(weights))
    return localizer.eval()


def build_architecture(name: str) -> nn.Module:
    """Build the localizer of a name without `@weights`, with random weights."""
    kind, _, query = REFERENCE.get(name, name).partition(":")
    if not query:
        known = [*REFERENCE, *(f"{f}:..." for f in family_names()), "module:function"]
        raise ConfigError(unknown_name("localizer", name, known))
    if kind in family_names():
        return family(kind).build(query)
    return family("plain").build(f"{kind}:{query}")


def packaged_weights(name: str) -> Path:
    """Return the file of a reference localizer's weights inside the package."""
    return asset(f"{name}.safetensors")


def packaged_ansm(name: str = DEFAULT_LOCALIZER) -> Path:
    """Return the file of the ANSM trained for a reference localizer, inside the package."""
    return asset(f"{name}-ansm.safetensors")


def asset(file: str) -> Path:
    """Return the path of a file that comes with the package."""
    return Path(str(importlib.resources.files("ansm_plugin") / "assets" / file))
