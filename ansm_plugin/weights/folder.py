"""A defended localizer as a folder that the Hugging Face hub can hold; nothing is ever uploaded.

`ansm.safetensors` is a file of `save_ansm`; `config.json` says how to talk to the localizer and
which one it was. The localizer's own weights stay where they are.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from ansm_plugin.ansm import ANSM
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.files import write_json
from ansm_plugin.weights.ansm_file import Provenance, identify, save_ansm, save_score

L = TypeVar("L", bound=nn.Module)
WEIGHTS = "ansm.safetensors"
CONFIG = "config.json"
LIBRARY = "ansm_plugin"
CONFIG_VERSION = 1


def save_pretrained(
    defended: DefendedLocalizer[Any], folder: str | Path, provenance: Provenance | None = None
) -> Path:
    """Write the ANSM and the spec of a defended localizer into a folder.

    Raises:
        WeightsError: the folder holds something else's config or cannot be written, or the ANSM is
            a module of the user's own.
    """
    target = Path(folder)
    if not isinstance(defended.ansm, ANSM):
        raise WeightsError(
            f"only an ANSM is saved; this localizer is defended by a module of your own, "
            f"{type(defended.ansm).__name__}: save its state_dict yourself."
        )
    if (target / CONFIG).exists():
        _read_config(target)  # never overwrite the config of a model of another library
    origin = provenance or _origin(defended)
    config = {
        "library_name": LIBRARY,
        "config_version": CONFIG_VERSION,
        "architecture": defended.ansm.architecture.as_dict(),
        "spec": asdict(defended.spec),
        "localizer": dict(origin.localizer),
    }
    save_ansm(defended.ansm, target / WEIGHTS, origin)
    if defended.score is not None:
        save_score(defended.score, target / WEIGHTS, target / WEIGHTS)
    try:
        write_json(target / CONFIG, config)
    except ConfigError as error:
        raise WeightsError(str(error)) from error
    return target


def load_pretrained(folder: str | Path, localizer: L) -> DefendedLocalizer[L]:
    """Defend a localizer by what `save_pretrained` wrote; warn where it is another localizer.

    The recorded spec is used, so normalisation and taps are those of the training.

    Raises:
        WeightsError: the folder is not one of `save_pretrained`, or its files are damaged.
        LocalizerError: the localizer cannot be wrapped.
    """
    source = Path(folder)
    spec = _read_spec(_read_config(source), source)
    return wrap_with_ansm(localizer, str(source / WEIGHTS), spec=spec)


def _origin(defended: DefendedLocalizer[Any]) -> Provenance:
    spec = defended.spec
    return Provenance(
        stage="untrained" if defended.ansm.is_identity else "unrecorded",
        localizer=identify(defended.localizer, spec),
        normalisation={"mean": spec.mean, "std": spec.std, "source": spec.normalisation},
    )


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    remedy = "Give a folder written by defended.save_pretrained, or another folder to save to."
    try:
        config = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{folder} holds no {CONFIG}. {remedy}") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"cannot read {path}: {error}. {remedy}") from error
    library = config.get("library_name") if isinstance(config, dict) else None
    if library != LIBRARY:
        raise WeightsError(f"{path} is not of {LIBRARY} (library_name {library!r}). {remedy}")
    version = config.get("config_version")
    if not isinstance(version, int) or version > CONFIG_VERSION:
        raise WeightsError(
            f"{path} has config_version {version!r}; this release reads up to {CONFIG_VERSION}. "
            "Upgrade ansm_plugin."
        )
    return dict(config)


def _read_spec(config: dict[str, Any], folder: Path) -> LocalizerSpec:
    try:
        fields: dict[str, Any] = config["spec"]
        lists = {k: tuple(v) for k, v in fields.items() if isinstance(v, list)}
        return LocalizerSpec(**{**fields, **lists})
    except (AttributeError, KeyError, TypeError, ConfigError) as error:
        raise WeightsError(
            f"{folder / CONFIG} does not say how to talk to the localizer: {error}."
        ) from error
