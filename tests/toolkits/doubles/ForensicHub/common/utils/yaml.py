"""Test double of ForensicHub.common.utils.yaml, over JSON, which is YAML too."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any


def load_yaml_config(path: str) -> Any:
    """Read a file."""
    return json.loads(Path(path).read_text())


def split_config(config: dict[str, Any]) -> tuple[Any, ...]:
    """Return rest, model, train dataset, test datasets, transform, evaluators."""
    model = config.pop("model", {})
    train = config.pop("train_dataset", {})
    tests = config.pop("test_dataset", [])
    transform = config.pop("transform", {})
    evaluators = config.pop("evaluator", [])
    for part in (model, train, transform, *tests, *evaluators):
        part.setdefault("init_config", {})
    return Namespace(**config), model, train, tests, transform, evaluators
