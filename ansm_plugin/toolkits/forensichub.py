"""ForensicHub (experimental): a model named `ANSM` that nests another by name and init_config.

As its own `Mask2LabelWrapper` does, in YAML:

    model:
      name: ANSM
      init_config: {name: Mesorch, init_config: {...}, ansm_weights: a.safetensors}

Where both are wanted the ANSM is the outer one: it stands before the image, and `Mask2LabelWrapper`
asks the model it nests for more than a defended model has.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any, Protocol, cast

from torch import Tensor

from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.toolkits.host_model import DefendedHostModel, defend, let_us_warn
from ansm_plugin.toolkits.hub_images import SPECS, norm_type_of, require_spec

MODEL = "ANSM"
_UNKNOWN = replace(SPECS["image_net"], normalisation="not known before the first image")


class _Registry(Protocol):
    """What we use of the host's registry module."""

    MODELS: Any

    def build_from_registry(self, registry: Any, config: dict[str, Any]) -> object: ...


class DefendedHubModel(DefendedHostModel):
    """A model of ForensicHub behind an ANSM, for images normalised as its datasets choose.

    The images tell how: see `hub_images`. Where they do not, what the last ones told holds.
    """

    norm_type: str = ""

    def suppress(self, inputs: Tensor) -> Tensor:
        """Return the inputs with the defensive perturbation added, in their range and dtype.

        Raises:
            ConfigError: the images contradict the `norm_type` given, or none was and they do not
                tell theirs.
        """
        self.look(inputs)
        return super().suppress(inputs)

    def look(self, inputs: Tensor) -> None:
        """Find out from images `(B, 3, H, W)` how they are normalised."""
        known = next(name for name, spec in SPECS.items() if spec.std == self.spec.std)
        found = norm_type_of(inputs, known)
        if found is not None and self.norm_type not in ("", found):
            raise ConfigError(
                f"norm_type is {self.norm_type}, but these images are whole grey levels under "
                f"{found}: ManiDataset, JsonDataset and BalancedDataset normalise by image_net, "
                "whatever the transform says. Leave norm_type out; the images tell it."
            )
        if found is not None or self.spec == _UNKNOWN:
            self.spec = require_spec(inputs, known)


def register() -> list[str]:
    """Register the model `ANSM` with ForensicHub; calling it again changes nothing.

    Raises:
        ConfigError: ForensicHub is missing, is the older one of PyPI, or holds another `ANSM`.
    """
    models = host_registry().MODELS
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
    norm_type: str = "",
) -> DefendedHubModel:
    """Build a model of ForensicHub by name and defend it.

    Args:
        name: of the nested model in the host's registry.
        init_config: its arguments.
        ansm_weights: safetensors of the ANSM; "" gives an untrained one.
        ansm_localizer: safetensors of the nested model; "" where the host loads them.
        ansm_preset: of an untrained ANSM.
        norm_type: how the dataset normalises: image_net, clip, standard or none. "" lets the
            images tell, which only images of 8 bit can.

    Raises:
        ConfigError: norm_type is unknown, or the host cannot build the nested model.
    """
    if norm_type not in ("", *SPECS):
        raise ConfigError(unknown_name("norm_type", norm_type, SPECS))
    registry = host_registry()
    config = {"name": name, "init_config": dict(init_config or {})}
    try:
        nested = registry.build_from_registry(registry.MODELS, config)
    except (KeyError, ValueError) as error:
        raise ConfigError(f"ForensicHub cannot build {name!r}: {error}") from error
    spec = _UNKNOWN
    if norm_type:
        spec = replace(SPECS[norm_type], normalisation=f"ForensicHub's norm_type {norm_type}")
    made = defend(
        nested,
        spec,
        weights=ansm_weights,
        localizer_weights=ansm_localizer,
        preset=ansm_preset,
        kind=DefendedHubModel,
    )
    made.norm_type = norm_type
    return made


def host_registry() -> _Registry:
    """Return the registry module of ForensicHub.

    Raises:
        ConfigError: it cannot be imported, or is that of the older package of PyPI.
    """
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
