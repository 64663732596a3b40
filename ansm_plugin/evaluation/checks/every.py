"""All reasons to distrust an evaluation: those in its rows, in the gradient, in the search."""

from __future__ import annotations

from typing import Any

from ansm_plugin.attacks.door import ordinary, outside_inference_mode
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.checks.alarm import Alarm
from ansm_plugin.evaluation.checks.alarms import Framing, find_alarms, is_untrained
from ansm_plugin.evaluation.checks.gradient import probe, probe_bare
from ansm_plugin.evaluation.checks.search import search_doubts, unconverged
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import Rows
from ansm_plugin.evaluation.transplant import Transplant
from ansm_plugin.localizer.call import mask_forward


def every_alarm(
    rows: Rows,
    defended: DefendedLocalizer[Any],
    few: Sample,
    config: EvaluationConfig,
    framing: Framing | None = None,
    transplant: Transplant | None = None,
) -> tuple[Alarm, ...]:
    """Return what is wrong or suspicious, in plain words; empty where nothing is.

    Args:
        rows: of the evaluation.
        defended: what was evaluated, in eval mode.
        few: some forged images, on its device, to try gradient and search on.
        config: of the evaluation.
        framing: rows of authentic and of forged images that were attacked with wrong masks.
        transplant: what the module adds, without the image that it adds it to.
    """
    spec = defended.spec
    # In fp32: the steps of bf16 are larger than the differences that are looked for.
    bare, exact = (mask_forward(model, spec) for model in (defended.localizer, defended))
    with outside_inference_mode():
        few = Sample(ordinary(few.images), ordinary(few.masks), few.names)
        untrained = is_untrained(defended.ansm)
        gradient = (
            *probe_bare(bare, spec.activation, few, config),
            *probe(exact, defended.pixels.perturbation, few, config),
        )
        return (
            *find_alarms(rows, framing, transplant, is_untrained=untrained),
            *(Alarm("gradient", text) for text in gradient),
            *(Alarm("search", text) for text in search_doubts(exact, few, config)),
            *(Alarm("unconverged", text) for text in unconverged(exact, few, config, rows)),
        )
