"""Test double of Lightning 2: a module with hooks, and a trainer that calls those we use."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


class LightningModule(nn.Module):
    """A module that its trainer calls; what is logged lies in `logged`."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: dict[str, float] = {}

    def log(self, name: str, value: Any, **_: Any) -> None:
        self.logged[name] = float(value)


class Trainer:
    """Calls the hooks of a module in the order and the modes of the real one."""

    def __init__(self, max_steps: int = -1, **_: Any) -> None:
        self.max_steps = max_steps

    def fit(self, model: Any, loader: Iterable[Any]) -> None:
        model.train()  # as the real one does, with all that lies below
        optimizer = model.configure_optimizers()
        for index, batch in enumerate(loader):
            if index == self.max_steps:
                break
            optimizer.zero_grad()
            model.training_step(batch, index).backward()
            optimizer.step()

    def test(self, model: Any, loader: Iterable[Any]) -> list[dict[str, float]]:
        model.eval()
        with torch.inference_mode():  # as the real one does
            for index, batch in enumerate(loader):
                model.test_step(batch, index)
        return [model.logged]
