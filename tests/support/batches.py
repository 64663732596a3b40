"""A batch of an evaluation, made by itself."""

from __future__ import annotations

from collections.abc import Mapping

from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.images import Batch
from ansm_plugin.evaluation.parts import NoiseMaker
from ansm_plugin.localizer.call import Forward


def batch_of(sample: Sample, forwards: Mapping[str, Forward], config: EvaluationConfig) -> Batch:
    """Return the first batch of an evaluation."""
    maker = NoiseMaker(forwards=forwards, config=config, tiling=Tiling(config.tile))
    return Batch(sample, 0, maker)
