"""Recipes of a few steps, somebody who watches them, and what they left."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ansm_plugin.ansm import Architecture
from ansm_plugin.recipes.ffa import Ffa, FfaRecipe
from ansm_plugin.recipes.mgr import Mgr
from ansm_plugin.recipes.two_stage import TwoStageRecipe
from ansm_plugin.training.config import FitConfig

QUICK = FitConfig(
    steps=4, batch_size=4, warmup=0, averaging=0.5, precision="fp32", checkpoint_every=100
)
THIN = Architecture(widths=(4, 6), encoder_blocks=(1, 1), decoder_blocks=(1,))
Fields = Callable[..., dict[str, Any]]
RENAMED = "ignore:.*held the weights of an earlier run"  # other choices in one folder


def ffa_recipe(stage: Fields, **changes: Any) -> FfaRecipe:
    return FfaRecipe(**stage(ansm="thin", ffa=Ffa(taps=("stem",), fit=QUICK), **changes))


def two_stages(stage: Fields, **changes: Any) -> TwoStageRecipe:
    fields = {"ffa": Ffa(taps=("stem",), fit=QUICK), "mgr": Mgr(fit=QUICK), **changes}
    return TwoStageRecipe(**stage(ansm="thin", **fields))


class Watcher:
    """Progress that is remembered, with a signal after some step of a training."""

    def __init__(self, stage: str = "", step: int = 0) -> None:
        self.seen: list[tuple[str, int]] = []
        self.losses: list[float] = []
        self.at = (stage, step)

    def __call__(self, name: str, step: int, steps: int, logs: dict[str, float]) -> None:
        """Note one call."""
        self.seen.append((name, step))
        self.losses += [logs["loss"]] if "loss" in logs else []
        if (name, step) == self.at:
            os.kill(os.getpid(), signal.SIGTERM)

    def steps_of(self, stage: str) -> list[int]:
        """Return the steps of a training that were told."""
        return [step for name, step in self.seen if name == stage]


def same(first: Path, second: Path) -> bool:
    """Return whether two files hold the same tensors, to the last bit."""
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}
