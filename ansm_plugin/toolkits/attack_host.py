r"""Adversarial robustness of an IMDLBenCo model, in IMDLBenCo's own metrics and dataset formats.

python -m ansm_plugin.toolkits.attack_host --model ANSM_X --checkpoint checkpoint-0.pth \
    --test_data_json test_datasets.json --if_resizing --ansm_weights a.safetensors

Options of the model follow those of this command, as in the host's scripts.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset

from ansm_plugin.errors import ConfigError, ImageError, unknown_name
from ansm_plugin.toolkits import imdlbenco
from ansm_plugin.toolkits.host_command import (
    attack_parser,
    attacked_rows,
    import_modules,
    load_checkpoint,
    report,
    run_command,
)

# What the host's scripts hand to a model that asks for it.
_SCRIPT_OPTIONS = ("image_size", "if_padding", "if_resizing", "if_predict_label", "edge_mask_width")


def main(arguments: Sequence[str]) -> int:
    """Evaluate as the command line says; return 2 after a mistake of the user."""
    return run_command(_run, arguments)


def _run(arguments: list[str]) -> None:
    options, rest = _parser().parse_known_args(arguments)
    import_modules(options.imports)
    imdlbenco.register()
    model = load_checkpoint(_model(options, rest), options.checkpoint, options.device)
    places = _places(options.test_data_json)
    datasets = {name: _dataset(options, path) for name, path in places.items()}
    rows = attacked_rows(model, datasets, options, lambda _: imdlbenco.SPEC)
    version = importlib.import_module("IMDLBenCo.version").__version__
    about = {
        "localizer": options.model.removeprefix(imdlbenco.PREFIX),
        "command": ["python", "-m", "ansm_plugin.toolkits.attack_host", *arguments],
        "versions": {"imdlbenco": version, "torch": torch.__version__},
    }
    report(rows, options.json, about)


def _places(path: Path) -> dict[str, str]:
    """Read the host's file of datasets: name -> folder or JSON of image pairs."""
    try:
        places = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error
    if not isinstance(places, dict) or not places:
        raise ConfigError(f'{path} names no dataset; IMDLBenCo reads {{"name": "folder or JSON"}}.')
    return {str(name): str(place) for name, place in places.items()}


def _model(options: argparse.Namespace, rest: list[str]) -> nn.Module:
    """Build the host's model as its scripts do, from the options its signature names."""
    host = importlib.import_module("IMDLBenCo.training_scripts.utils.misc")
    models = importlib.import_module("IMDLBenCo.registry").MODELS
    if not models.has(options.model):
        known = [name for base in models.module_dict for name in (base, imdlbenco.PREFIX + base)]
        raise ConfigError(unknown_name("model of IMDLBenCo", options.model, known))
    build = models.get(options.model)
    own = vars(host.create_argparser(build).parse_args(rest))
    taken = inspect.signature(build).parameters
    settings = {**own, **{k: getattr(options, k) for k in (*_SCRIPT_OPTIONS, "device")}}
    model: nn.Module = build(**{k: v for k, v in settings.items() if k in taken})
    return model


def _dataset(options: argparse.Namespace, path: str) -> Dataset[Any]:
    datasets = importlib.import_module("IMDLBenCo.datasets")
    kind = datasets.ManiDataset if Path(path).is_dir() else datasets.JsonDataset
    post_functions = importlib.import_module("IMDLBenCo.registry").POSTFUNCS.module_dict
    wanted = f"{options.model}_post_func".lower()
    try:
        made: Dataset[Any] = kind(
            path,
            is_padding=options.if_padding,
            is_resizing=not options.if_padding,
            output_size=(options.image_size, options.image_size),
            edge_width=options.edge_mask_width,
            post_funcs=next((f for n, f in post_functions.items() if n.lower() == wanted), None),
        )
    except (AssertionError, TypeError, ValueError) as error:
        raise ImageError(f"IMDLBenCo cannot read the dataset {path}: {error}") from error
    return made


def _parser() -> argparse.ArgumentParser:
    parser = attack_parser("attack_host", __doc__)
    parser.add_argument("--model", required=True, help="name in the host's registry, or ANSM_NAME")
    parser.add_argument("--test_data_json", type=Path, required=True, help="the host's format")
    parser.add_argument("--image_size", type=int, default=512)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--if_padding", action="store_true")
    sizes.add_argument("--if_resizing", action="store_true", help="(default)")
    parser.add_argument("--edge_mask_width", type=int)
    parser.add_argument("--if_predict_label", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
