"""Evaluation of a defended localizer: threat models, rows, alarms."""

from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.labels import Labels
from ansm_plugin.evaluation.results import Evaluation, Row, Summary
from ansm_plugin.evaluation.run import Rivals, evaluate

__all__ = [
    "Evaluation",
    "EvaluationConfig",
    "Labels",
    "Rivals",
    "Row",
    "Sample",
    "Summary",
    "attack_generator",
    "evaluate",
]
