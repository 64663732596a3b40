"""How a localizer is named on the command line, and what comes with its name.

`NAME` of the catalogue of weights, `smp:Unet?encoder_name=resnet34`, `timm:convnext_tiny`,
`module:function` of the user's own code; each with optional `@weights.safetensors`, and
any number of `@adapter.safetensors` behind that, each trained on what stands before it.
"""

from __future__ import annotations

from functools import reduce
from pathlib import Path

from torch import nn

from ansm_plugin.errors import ConfigError, LocalizerError, nearest, unknown_name
from ansm_plugin.localizer.families import build, family_names
from ansm_plugin.localizer.handed import copy_of, is_handed
from ansm_plugin.localizer.stated import restate
from ansm_plugin.system.paths import user_path
from ansm_plugin.weights import catalogue
from ansm_plugin.weights.adapters import apply_adapter, is_adapter
from ansm_plugin.weights.catalogue_card import MadeCrops
from ansm_plugin.weights.tensors import load_localizer_weights

DEFAULT_LOCALIZER = catalogue.DEFAULT_LOCALIZER
SMALL_LOCALIZER = catalogue.SMALL_LOCALIZER
_SUFFIX = ".safetensors"


def build_localizer(name: str) -> nn.Module:
    """Build the localizer of a command-line name, in eval mode.

    A name of the catalogue without `@weights` comes with its weights; other names without
    `@weights` have random ones. Each adapter is applied to what stands before it.

    Raises:
        ConfigError: neither a name of the catalogue nor `family:...`, with the nearest names.
        LocalizerError: the family cannot build it.
        WeightsError: the weights cannot be read or do not fit.
    """
    base, weights, adapters = split_name(name)
    localizer = build_architecture(base)
    if weights is None and (listed := catalogue.find(base)) is not None:
        weights = listed.weights
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
        ConfigError: neither of the catalogue nor a family nor a module, with the nearest names.
        LocalizerError: the family cannot build it.
    """
    if is_handed(name):
        return copy_of(name)
    listed = catalogue.find(name)
    kind, _, query = (listed.card.architecture if listed else name).partition(":")
    if not query:
        others = [*(f"{f}:..." for f in family_names()), "module:function"]
        raise ConfigError(catalogue.unknown(name, others))
    if kind in family_names():
        return build(kind, query)
    try:
        return build("plain", f"{kind}:{query}")
    except LocalizerError as error:
        known = [*catalogue.packaged(), *family_names()]
        if isinstance(error.__cause__, ModuleNotFoundError) and nearest(kind, known):
            said = unknown_name("localizer family", kind, known)
            raise ConfigError(f"{said} Nor is there a module {kind!r}.") from error
        raise


def ansm_of(name: str | None) -> Path | None:
    """Return the ANSM that comes with a localizer's name, None where none does.

    Args:
        name: as on the command line; None is the default. Behind other weights there is none.
    """
    listed = catalogue.find(name or DEFAULT_LOCALIZER)
    return None if listed is None else listed.ansm


def crops_of(name: str | None) -> MadeCrops:
    """Return which forged crops are made for a localizer where nobody gives pictures.

    Those of its card; where there is none, or it says nothing of them, those of the default.

    Args:
        name: as on the command line; None is the default.
    """
    for base in ((name or DEFAULT_LOCALIZER).partition("@")[0], DEFAULT_LOCALIZER):
        listed = catalogue.find(base)
        if listed is not None and listed.card.crops is not None:
            return listed.card.crops
    return MadeCrops()


def packaged_weights(name: str) -> Path:
    """Return the file of the weights of a localizer that comes with the package."""
    return catalogue.packaged()[name].weights


def packaged_ansm(name: str = DEFAULT_LOCALIZER) -> Path:
    """Return the file of the ANSM of a localizer that comes with the package.

    Raises:
        ConfigError: it has none.
    """
    listed = catalogue.packaged().get(name)
    file = None if listed is None else listed.ansm
    if file is None:
        raise ConfigError(f"{name} comes without an ANSM; train one with `ansm train two-stage`.")
    return file
