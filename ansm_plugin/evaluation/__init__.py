"""Evaluation of a defended localizer: metrics, threat models, alarms and reports."""

from ansm_plugin.evaluation.metrics import (
    auc_scores,
    bootstrap_interval,
    f1_scores,
    false_positive_share,
    harm,
    iou_scores,
    recovery,
)
from ansm_plugin.evaluation.plan import EvaluationConfig, Sample, attack_generator
from ansm_plugin.evaluation.report import print_table, save_panel, save_summary, write_json
from ansm_plugin.evaluation.results import Evaluation, Row, Summary
from ansm_plugin.evaluation.run import evaluate

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "Row",
    "Sample",
    "Summary",
    "attack_generator",
    "auc_scores",
    "bootstrap_interval",
    "evaluate",
    "f1_scores",
    "false_positive_share",
    "harm",
    "iou_scores",
    "print_table",
    "recovery",
    "save_panel",
    "save_summary",
    "write_json",
]
