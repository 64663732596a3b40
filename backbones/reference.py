"""The reference localizers, and how a localizer is named on the command line.

`NAME` of a reference localizer, `smp:Unet?encoder_name=resnet34`, `timm:convnext_tiny`,
`module:function` of the user's own code; each with optional `@weights.safetensors`, and
any number of `@adapter.safetensors` behind that, each trained on what stands before it.
"""

from __future__ import annotations

import importlib.resources
from functools import reduce
from pathlib import Path

from torch import nn

from ansm_plugin.errors import ConfigError, LocalizerError, nearest, unknown_name
from ansm_plugin.localizer.families import build, family_names
from ansm_plugin.localizer.handed import copy_of, is_handed
from ansm_plugin.localizer.stated import restate
from ansm_plugin.system.paths import user_path
from ansm_plugin.weights.adapters import apply_adapter, is_adapter
from ansm_plugin.weights.tensors import load_localizer_weights

# Trained by `ansm train localizer` on built-in photographs; the weights come with the package.
REFERENCE = {
    "forensic-unet": "smp:Unet?encoder_name=tu-regnetx_002&encoder_depth=4"
    "&decoder_channels=96,48,32,16",
}
DEFAULT_LOCALIZER = "forensic-unet"
_SUFFIX = ".safetensors"


def build_localizer(name: str) -> nn.Module:
    """Build the localizer of a command-line name, in eval mode.

    A reference name without `@weights` comes with its packaged weights; other names without
    `@weights` have random ones. Each adapter is applied to what stands before it.

    Raises:
        ConfigError: neither a reference name nor `family:...`, with the nearest names.
        LocalizerError: the family cannot build it.
        WeightsError: the weights cannot be read or do not fit.
    """
    base, weights, adapters = split_name(name)
    localizer = build_architecture(base)
    if weights is None and base in REFERENCE:
        weights = packaged_weights(base)
    if weights is not None:
        load_localizer_weights(localizer, weights)
    adapted = reduce(apply_adapter, adapters, localizer.eval())
    restate(localizer, adapted)  # what a function of the user's own said of it
    return adapted


def split_name(name: str) -> tuple[str, Path | None, list[Path]]:
    """Return base, weights and adapters of a command-line name; `~` is the home folder.

    Raises:
        ConfigError: no file stands behind an @.
        WeightsError: the first file behind the base cannot be read, so that nobody knows which.
    """
    base, at, rest = name.partition("@")
    if not at:
        return base, None, []
    *before, last = rest.split(f"{_SUFFIX}@")  # a folder's name may have an @
    if not last.strip():  # as of a variable of the shell that is not set
        raise ConfigError(f"no file stands behind the last @ of {name!r}; name one, or drop the @.")
    files = [*(user_path(part + _SUFFIX) for part in before), user_path(last)]
    return (base, None, files) if is_adapter(files[0]) else (base, files[0], files[1:])


def build_architecture(name: str) -> nn.Module:
    """Build the localizer of a name without `@weights`, with random weights.

    Raises:
        ConfigError: neither a reference name nor a family nor a module, with the nearest names.
        LocalizerError: the family cannot build it.
    """
    if is_handed(name):
        return copy_of(name)
    kind, _, query = REFERENCE.get(name, name).partition(":")
    if not query:
        known = [*REFERENCE, *(f"{f}:..." for f in family_names()), "module:function"]
        raise ConfigError(unknown_name("localizer", name, known))
    if kind in family_names():
        return build(kind, query)
    try:
        return build("plain", f"{kind}:{query}")
    except LocalizerError as error:
        known = [*REFERENCE, *family_names()]
        if isinstance(error.__cause__, ModuleNotFoundError) and nearest(kind, known):
            said = unknown_name("localizer family", kind, known)
            raise ConfigError(f"{said} Nor is there a module {kind!r}.") from error
        raise


def packaged_weights(name: str) -> Path:
    """Return the file of a reference localizer's weights inside the package."""
    return asset(f"{name}.safetensors")


def packaged_ansm(name: str = DEFAULT_LOCALIZER) -> Path:
    """Return the file of the ANSM trained for a reference localizer, inside the package."""
    return asset(f"{name}-ansm.safetensors")


def asset(file: str) -> Path:
    """Return the path of a file that comes with the package."""
    return Path(str(importlib.resources.files("ansm_plugin") / "assets" / file))
