"""Test double of photoholmes.metrics.factory: torchmetrics, pooled over all pixels."""

from __future__ import annotations

from torchmetrics import MetricCollection
from torchmetrics.classification import BinaryAUROC, BinaryF1Score, BinaryROC


class MetricFactory:
    """Gives metrics by name."""

    @staticmethod
    def load(metric_names: list[str]) -> MetricCollection:
        known = {"auroc": BinaryAUROC, "f1": BinaryF1Score, "roc": BinaryROC}
        return MetricCollection([known[name]() for name in metric_names])
