"""Evaluation of a defended localizer: threat models, rows, alarms."""

from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import Evaluation, Row, Summary
from ansm_plugin.evaluation.run import evaluate

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "Row",
    "Sample",
    "Summary",
    "attack_generator",
    "evaluate",
]
