"""What the commands that attack a host's models have in common."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ansm_plugin.attacks import ATTACKS
from ansm_plugin.errors import AnsmError, ConfigError
from ansm_plugin.evaluation.results import T0
from ansm_plugin.system.files import write_json
from ansm_plugin.toolkits.host_model import DefendedHostModel, unreached_inputs
from ansm_plugin.toolkits.robustness import Batch, SpecOf, attack_plan, evaluate_host
from ansm_plugin.weights.convert import find_state, read_tensors_only
from ansm_plugin.weights.names import unwrapped
from ansm_plugin.weights.tensors import load_strictly

Rows = list[dict[str, Any]]


def run_command(command: Callable[[list[str]], None], arguments: Sequence[str]) -> int:
    """Run a command; return 0, or 2 after a mistake of the user, which is printed."""
    try:
        command(list(arguments))
    except (AnsmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def attack_parser(name: str, about: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options of attacks, the checkpoint and the output."""
    parser = argparse.ArgumentParser(name, description=about, allow_abbrev=False)
    parser.add_argument("--checkpoint", type=Path, required=True, help="of the host, .pth")
    parser.add_argument("--imports", nargs="*", default=[], help="modules that register models")
    parser.add_argument("--attacks", nargs="+", default=["fgsm", "pgd"], choices=sorted(ATTACKS))
    parser.add_argument("--attack_eps", nargs="+", type=float, default=[2.0, 4.0, 8.0])
    parser.add_argument("--attack_steps", type=int, default=10)
    parser.add_argument("--test_batch_size", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", type=Path, help="write the numbers there too")
    return parser


def import_modules(modules: Sequence[str]) -> None:
    """Import modules of the user's folder, which register models."""
    sys.path.insert(0, str(Path.cwd()))
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"cannot import {module} of --imports: {error}.") from error


def load_checkpoint(model: nn.Module, path: Path, device: str) -> nn.Module:
    """Load a checkpoint of the host strictly, and return the model as it is attacked."""
    state = unwrapped(find_state(read_tensors_only(path), path).tensors)
    if isinstance(model, DefendedHostModel):
        model.load_state_dict(state)
    else:
        load_strictly(model, state, str(path))
    return model.to(torch.device(device)).eval().requires_grad_(False)


def attacked_rows(
    model: nn.Module,
    datasets: Mapping[str, Dataset[Any]],
    options: argparse.Namespace,
    spec_of: SpecOf,
) -> Rows:
    """Return the rows of all datasets; say which inputs no attack reaches."""
    is_defended = isinstance(model, DefendedHostModel)
    plan = attack_plan(
        options.attacks, options.attack_eps, options.attack_steps, is_defended=is_defended
    )
    unreached = unreached_inputs(model.localizer if isinstance(model, DefendedHostModel) else model)
    if unreached:
        print(f"attacked partially: {', '.join(unreached)} stay those of the original image.")
    rows = []
    for name, dataset in datasets.items():
        batches = _batches(dataset, options)
        scored = evaluate_host(model, batches, plan, seed=0, spec_of=spec_of)
        rows += [{"dataset": name, **row} for row in scored]
    return rows


def _batches(dataset: Dataset[Any], options: argparse.Namespace) -> Callable[[], Iterator[Batch]]:
    loader = DataLoader(dataset, batch_size=options.test_batch_size)
    device = torch.device(options.device)

    def iterate() -> Iterator[Batch]:
        for batch in loader:
            yield {k: v.to(device) if isinstance(v, Tensor) else v for k, v in batch.items()}

    return iterate


def report(rows: Rows, target: Path | None, about: Mapping[str, Any]) -> None:
    """Print the rows, and write them behind what they are `about` where a target is given."""
    print("\n".join(map(_line, rows)))
    if target is not None:
        print(f"wrote {write_json(target, {**about, 'seed': 0, 'rows': rows})}")


def _line(row: Mapping[str, Any]) -> str:
    attack = row["attack"] if row["threat"] == T0 else f"{row['attack']}@{row['eps_255']:g}"
    numbers = "  ".join(f"{k} {v:.4f}" for k, v in row.items() if k.startswith("pixel-level"))
    return f"{row['dataset']:<12} {row['threat']} {attack:<14} {row['defence']:<5} {numbers}"
