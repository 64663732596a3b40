"""A folder that the Hugging Face hub can hold; nothing is ever uploaded.

`ansm.safetensors` is a file of an ANSM; `config.json` says how to talk to the localizer and which
one it was. The localizer's own weights stay where they are.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansm_plugin.errors import ConfigError, WeightsError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.system.files import write_json
from ansm_plugin.weights.ansm_file import AnsmFile

WEIGHTS = "ansm.safetensors"
CONFIG = "config.json"
LIBRARY = "ansm_plugin"
CONFIG_VERSION = 1


def write_folder(folder: str | Path, file: AnsmFile, spec: LocalizerSpec) -> Path:
    """Write an ANSM and how to talk to its localizer into a folder.

    Args:
        folder: made where there is none.
        file: what becomes `ansm.safetensors`.
        spec: of the localizer.

    Raises:
        WeightsError: the folder holds something else's config, or cannot be written.
    """
    target = Path(folder)
    if (target / CONFIG).exists():
        _read_config(target)  # never overwrite the config of a model of another library
    config = {
        "library_name": LIBRARY,
        "config_version": CONFIG_VERSION,
        "architecture": file.ansm.architecture.as_dict(),
        "spec": asdict(spec),
        "localizer": dict(file.provenance.localizer),
    }
    file.write(target / WEIGHTS)
    try:
        write_json(target / CONFIG, config)
    except ConfigError as error:
        raise WeightsError(str(error)) from error
    return target


def read_folder(folder: str | Path) -> tuple[LocalizerSpec, Path]:
    """Return how to talk to the localizer, and the path of the ANSM's file, which is not read.

    Raises:
        WeightsError: the folder is not one of `write_folder`, or its config is damaged.
    """
    source = Path(folder)
    return _read_spec(_read_config(source), source), source / WEIGHTS


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
