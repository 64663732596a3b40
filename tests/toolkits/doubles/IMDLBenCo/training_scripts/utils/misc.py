"""Test double of IMDLBenCo.training_scripts.utils.misc."""

from __future__ import annotations

import argparse
import inspect
from typing import Any


def create_argparser(build: Any) -> argparse.ArgumentParser:
    """Return a parser with an option per parameter of what builds a model."""
    parser = argparse.ArgumentParser(build.__name__)
    for name, parameter in inspect.signature(build).parameters.items():
        kind = parameter.annotation if callable(parameter.annotation) else str
        parser.add_argument(f"--{name}", type=kind, default=parameter.default)
    return parser
