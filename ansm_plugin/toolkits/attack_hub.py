r"""Adversarial robustness of a ForensicHub model that localizes, in ForensicHub's pixel metrics.

python -m ansm_plugin.toolkits.attack_hub --config test.yaml --checkpoint checkpoint-0.pth

Reads model, transform and test datasets from the YAML that the host's test.py takes.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits import forensichub
from ansm_plugin.toolkits.host_command import (
    attack_parser,
    attacked_rows,
    import_modules,
    load_checkpoint,
    report,
    run_command,
)
from ansm_plugin.toolkits.hub_images import require_spec
from ansm_plugin.toolkits.robustness import Batch

# How a part of the host fails: by a wrong name, a wrong option, or a file that is not there.
_MISTAKES = (AssertionError, AttributeError, KeyError, TypeError, ValueError)


def main(arguments: Sequence[str]) -> int:
    """Evaluate as the command line says; return 2 after a mistake of the user."""
    return run_command(_run, arguments)


def _run(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    forensichub.register()
    import_modules(options.imports)
    config = _config(options.config)
    bare = _built("MODELS", config["model"])
    if not isinstance(bare, nn.Module):
        raise ConfigError(f"the model of {options.config} is {type(bare).__name__}, no module.")
    model = load_checkpoint(bare, options.checkpoint, options.device)
    rows = attacked_rows(model, _datasets(config), options, lambda batch: _spec_of(model, batch))
    versions = {
        "forensichub": importlib.import_module("ForensicHub.version").__version__,
        "torch": torch.__version__,
    }
    about = {
        "localizer": _localizer(config["model"]),
        "command": ["python", "-m", "ansm_plugin.toolkits.attack_hub", *arguments],
        "versions": versions,
    }
    report(rows, options.json, about)


def _config(path: Path) -> dict[str, Any]:
    """Read model, transform and test datasets of a YAML, as the host's scripts do."""
    host = importlib.import_module("ForensicHub.common.utils.yaml")
    path.read_bytes()  # a missing file is named before the host is asked
    try:
        _, model, _, datasets, transform, _ = host.split_config(host.load_yaml_config(str(path)))
    except (*_MISTAKES, importlib.import_module("yaml").YAMLError) as error:
        raise ConfigError(f"ForensicHub cannot read {path}: {error}") from error
    for part, found in (("model", model), ("transform", transform), ("test_dataset", datasets)):
        if not found or (isinstance(found, dict) and "name" not in found):
            raise ConfigError(f"{path} names no {part}; the host's test.py takes the same file.")
    return {"model": model, "datasets": datasets, "transform": transform}


def _datasets(config: dict[str, Any]) -> dict[str, Dataset[Any]]:
    """Build the test datasets with what the host's test.py gives them."""
    transform = _built("TRANSFORMS", config["transform"])
    common = {
        "post_funcs": _post_function(config["model"]),
        "common_transform": transform.get_test_transform(),
        "post_transform": transform.get_post_transform(),
    }
    made = {}
    for given in config["datasets"]:
        own = {"name": given["name"], "init_config": {**given.get("init_config", {}), **common}}
        made[str(given.get("dataset_name", given["name"]))] = _built("DATASETS", own)
    return made


def _post_function(model: dict[str, Any]) -> Any:
    """Find the post function by the host's rule: of `post_func_name`, else of the model's name."""
    functions = importlib.import_module("ForensicHub.registry").POSTFUNCS
    named = f"{model.get('post_func_name') or model['name']}_post_func".lower()
    return functions.get(named) if functions.has(named) else None


def _built(registry: str, config: dict[str, Any]) -> Any:
    host: Any = forensichub.host_registry()
    try:
        return host.build_from_registry(getattr(host, registry), config)
    except OSError as error:
        raise ImageError(f"ForensicHub cannot read {config['name']}: {error}") from error
    except _MISTAKES as error:
        kind = registry.lower().removesuffix("s")
        raise ConfigError(
            f"ForensicHub cannot build the {kind} {config['name']}: {error!r}"
        ) from error


def _spec_of(model: nn.Module, batch: Batch) -> LocalizerSpec:
    if isinstance(model, forensichub.DefendedHubModel):
        model.look(batch["image"])
        return model.spec
    return require_spec(batch["image"])


def _localizer(model: dict[str, Any]) -> str:
    inner = model.get("init_config", {}) if model["name"] == forensichub.MODEL else model
    return str(inner.get("name"))


def _parser() -> argparse.ArgumentParser:
    parser = attack_parser("attack_hub", __doc__)
    parser.add_argument("--config", type=Path, required=True, help="YAML of the host's test.py")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
