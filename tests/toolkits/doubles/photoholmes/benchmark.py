"""Test double of photoholmes.benchmark: outputs are kept by class name, and used again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MetricCollection

KINDS = ("heatmap", "mask", "detection")


class Benchmark:
    """Runs a method over a dataset and returns metrics by kind of output."""

    def __init__(
        self,
        save_method_outputs: bool = True,
        save_extra_outputs: bool = False,
        save_metrics: bool = True,
        output_folder: str = "output/",
        device: str = "cpu",
        use_existing_output: bool = True,
        verbose: int = 1,
    ) -> None:
        self.save_method_outputs = save_method_outputs
        self.save_metrics_flag = save_metrics
        self.output_path = Path(output_folder)
        self.use_existing_output = use_existing_output
        self.device = torch.device(device if torch.cuda.is_available() else "cpu")

    def run(self, method: Any, dataset: Any, metrics: MetricCollection) -> dict[str, Any]:
        if method.device != self.device:
            method.to_device(self.device)
        folder = self.output_path / method.__class__.__name__.lower()
        folder = folder / dataset.__class__.__name__.lower()
        scored = {kind: metrics.clone(prefix=kind).to(self.device) for kind in KINDS}
        used = set()
        for data, mask, name in dataset:
            kept = folder / f"{name}.pt"
            if self.use_existing_output and kept.exists():
                output = torch.load(kept)
            else:
                output = method.benchmark(**self._on_device(data))
                if self.save_method_outputs:
                    folder.mkdir(parents=True, exist_ok=True)
                    torch.save(output, kept)
            truths = {"heatmap": mask, "mask": mask, "detection": mask.any().view(1)}
            for kind in [k for k in KINDS if output[k] is not None]:
                scored[kind].update(output[kind], truths[kind].int())
                used.add(kind)
        assert self.save_metrics_flag is False or isinstance(dataset.tampered_only, bool)
        return {kind: scored[kind].compute() for kind in KINDS if kind in used}

    def _on_device(self, data: dict[str, Any]) -> dict[str, Any]:
        return {
            k: v.to(self.device, dtype=torch.float32) if isinstance(v, Tensor) else v
            for k, v in data.items()
        }
