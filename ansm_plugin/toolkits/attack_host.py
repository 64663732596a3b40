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
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ansm_plugin.attacks import ATTACKS
from ansm_plugin.errors import AnsmError, ConfigError, ImageError, unknown_name
from ansm_plugin.evaluation.results import T0
from ansm_plugin.system.files import write_json
from ansm_plugin.toolkits import imdlbenco
from ansm_plugin.toolkits.host_model import DefendedHostModel, unreached_inputs
from ansm_plugin.toolkits.robustness import Batch, attack_plan, evaluate_host
from ansm_plugin.weights.convert import find_state, read_tensors_only
from ansm_plugin.weights.names import unwrapped
from ansm_plugin.weights.tensors import load_strictly

# What the host's scripts hand to a model that asks for it.
_SCRIPT_OPTIONS = ("image_size", "if_padding", "if_resizing", "if_predict_label", "edge_mask_width")


def main(arguments: Sequence[str]) -> int:
    """Evaluate as the command line says; return 2 after a mistake of the user."""
    try:
        _run(list(arguments))
    except (AnsmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _run(arguments: list[str]) -> None:
    options, rest = _parser().parse_known_args(arguments)
    _import(options.imports)
    imdlbenco.register()
    device = torch.device(options.device)
    model = _model(options, rest).to(device).eval().requires_grad_(False)
    is_defended = isinstance(model, DefendedHostModel)
    plan = attack_plan(
        options.attacks, options.attack_eps, options.attack_steps, is_defended=is_defended
    )
    unreached = unreached_inputs(model.localizer if isinstance(model, DefendedHostModel) else model)
    if unreached:
        print(f"attacked partially: {', '.join(unreached)} stay those of the original image.")
    rows = []
    for name, path in _datasets(options.test_data_json).items():
        batches = _batches(options, path, device)
        rows += [{"dataset": name, **row} for row in evaluate_host(model, batches, plan, seed=0)]
    print("\n".join(map(_line, rows)))
    if options.json is not None:
        _write(options, arguments, rows)


def _import(modules: Sequence[str]) -> None:
    """Import modules of the user's folder, which register models."""
    sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"cannot import {module} of --imports: {error}.") from error


def _datasets(path: Path) -> dict[str, str]:
    """Read the host's file of datasets: name -> folder or JSON of image pairs."""
    try:
        datasets = json.loads(path.read_text())
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}.") from error
    if not isinstance(datasets, dict) or not datasets:
        raise ConfigError(f'{path} names no dataset; IMDLBenCo reads {{"name": "folder or JSON"}}.')
    return {str(name): str(place) for name, place in datasets.items()}


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
    found = find_state(read_tensors_only(options.checkpoint), options.checkpoint)
    state = unwrapped(found.tensors)
    if isinstance(model, DefendedHostModel):
        model.load_state_dict(state)
    else:
        load_strictly(model, state, str(options.checkpoint))
    return model


def _batches(
    options: argparse.Namespace, path: str, device: torch.device
) -> Callable[[], Iterator[Batch]]:
    datasets = importlib.import_module("IMDLBenCo.datasets")
    kind = datasets.ManiDataset if Path(path).is_dir() else datasets.JsonDataset
    post_functions = importlib.import_module("IMDLBenCo.registry").POSTFUNCS.module_dict
    wanted = f"{options.model}_post_func".lower()
    try:
        dataset = kind(
            path,
            is_padding=options.if_padding,
            is_resizing=not options.if_padding,
            output_size=(options.image_size, options.image_size),
            edge_width=options.edge_mask_width,
            post_funcs=next((f for n, f in post_functions.items() if n.lower() == wanted), None),
        )
    except (AssertionError, TypeError, ValueError) as error:
        raise ImageError(f"IMDLBenCo cannot read the dataset {path}: {error}") from error
    loader = DataLoader(dataset, batch_size=options.test_batch_size)

    def iterate() -> Iterator[Batch]:
        for batch in loader:
            yield {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}

    return iterate


def _line(row: Mapping[str, Any]) -> str:
    attack = row["attack"] if row["threat"] == T0 else f"{row['attack']}@{row['eps_255']:g}"
    numbers = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k.startswith("pixel-level"))
    return f"{row['dataset']:<12} {row['threat']} {attack:<14} {row['defence']:<5} {numbers}"


def _write(options: argparse.Namespace, arguments: list[str], rows: list[dict[str, Any]]) -> None:
    version = importlib.import_module("IMDLBenCo.version").__version__
    result = {
        "localizer": options.model.removeprefix(imdlbenco.PREFIX),
        "command": ["python", "-m", "ansm_plugin.toolkits.attack_host", *arguments],
        "versions": {"imdlbenco": version, "torch": torch.__version__},
        "seed": 0,
        "rows": rows,
    }
    print(f"wrote {write_json(options.json, result)}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("attack_host", description=__doc__, allow_abbrev=False)
    parser.add_argument("--model", required=True, help="name in the host's registry, or ANSM_NAME")
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the host, .pth")
    parser.add_argument("--test_data_json", type=Path, required=True, help="the host's format")
    parser.add_argument("--imports", nargs="*", default=[], help="modules that register models")
    parser.add_argument("--attacks", nargs="+", default=["fgsm", "pgd"], choices=sorted(ATTACKS))
    parser.add_argument("--attack_eps", nargs="+", type=float, default=[2.0, 4.0, 8.0])
    parser.add_argument("--attack_steps", type=int, default=10)
    parser.add_argument("--image_size", type=int, default=512)
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument("--if_padding", action="store_true")
    sizes.add_argument("--if_resizing", action="store_true", help="(default)")
    parser.add_argument("--edge_mask_width", type=int)
    parser.add_argument("--if_predict_label", action="store_true")
    parser.add_argument("--test_batch_size", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
