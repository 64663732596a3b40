"""ForensicHub (experimental): a model named `ANSM` that nests another by name and init_config.

As its own `Mask2LabelWrapper` does, in YAML:

    model:
      name: ANSM
      init_config: {name: Mesorch, init_config: {...}, ansm_weights: a.safetensors}

Its package on PyPI is another, older thing and the real one cannot be installed from registries,
so this was tested against a test double of the registry alone: see HOSTS.md.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any, Protocol, cast

from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits.host_model import DefendedHostModel, defend, let_us_warn

MODEL = "ANSM"
_PIXELS = LocalizerSpec(
    family="forensichub",
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    activation="sigmoid",
    mask_key="pred_mask",
)
_IMAGENET = LocalizerSpec()
# Its transforms take the normalisation from the YAML, so it must be told here as well.
SPECS = {
    "image_net": replace(_PIXELS, mean=_IMAGENET.mean, std=_IMAGENET.std),
    "clip": replace(
        _PIXELS,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
    ),
    "standard": replace(_PIXELS, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "none": _PIXELS,
}


class _Registry(Protocol):
    """What we use of the host's registry module."""

    MODELS: Any

    def build_from_registry(self, registry: Any, config: dict[str, Any]) -> object: ...


def register() -> list[str]:
    """Register the model `ANSM` with ForensicHub; calling it again changes nothing.

    Raises:
        ConfigError: ForensicHub is missing, is the older one of PyPI, or holds another `ANSM`.
    """
    models = _host_registry().MODELS
    held = models.module_dict.get(MODEL)
    if held is None:
        models.register_module(name=MODEL, module=build)
    elif held is not build:
        raise ConfigError(
            f"ForensicHub holds another model named {MODEL}, of {held.__module__}; unregister it."
        )
    let_us_warn()
    return [MODEL]


def build(
    name: str,
    init_config: dict[str, Any] | None = None,
    *,
    ansm_weights: str = "",
    ansm_localizer: str = "",
    ansm_preset: str = "",
    norm_type: str = "image_net",
) -> DefendedHostModel:
    """Build a model of ForensicHub by name and defend it.

    Args:
        name: of the nested model in the host's registry.
        init_config: its arguments.
        ansm_weights: safetensors of the ANSM; "" gives an untrained one.
        ansm_localizer: safetensors of the nested model; "" where the host loads them.
        ansm_preset: of an untrained ANSM.
        norm_type: what the YAML says of the transform: image_net, clip, standard or none.

    Raises:
        ConfigError: norm_type is unknown, or the host cannot build the nested model.
    """
    if norm_type not in SPECS:
        raise ConfigError(unknown_name("norm_type", norm_type, SPECS))
    registry = _host_registry()
    config = {"name": name, "init_config": dict(init_config or {})}
    try:
        nested = registry.build_from_registry(registry.MODELS, config)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"ForensicHub cannot build {name!r}: {error}") from error
    spec = replace(SPECS[norm_type], normalisation=f"ForensicHub's norm_type {norm_type}")
    return defend(
        nested,
        spec,
        weights=ansm_weights,
        localizer_weights=ansm_localizer,
        preset=ansm_preset,
    )


def _host_registry() -> _Registry:
    try:
        registry = importlib.import_module("ForensicHub.registry")
    except ImportError as error:
        raise ConfigError(
            f"ForensicHub cannot be imported ({error}); it is installed from a clone with "
            "DeepfakeBench beside it: see HOSTS.md."
        ) from error
    if not hasattr(registry, "build_from_registry"):
        raise ConfigError(
            "this ForensicHub is the older package of PyPI, which cannot nest models; install it "
            "from a clone: see HOSTS.md."
        )
    return cast(_Registry, registry)
