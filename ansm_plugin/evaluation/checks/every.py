"""All reasons to distrust an evaluation: those in its rows, in the gradient, in the search."""

from __future__ import annotations

from typing import Any

from ansm_plugin.attacks.door import ordinary, outside_inference_mode
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.checks.alarm import Alarm
from ansm_plugin.evaluation.checks.alarms import Framing, find_alarms, is_untrained
from ansm_plugin.evaluation.checks.gradient import gradient_passes, probe, probe_bare
from ansm_plugin.evaluation.checks.probing import Probing
from ansm_plugin.evaluation.checks.search import search_doubts, search_passes, unconverged
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.records import Records
from ansm_plugin.evaluation.results import Rows
from ansm_plugin.evaluation.transplant import Transplant
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.system.progress import Progress, silent


def every_alarm(
    rows: Rows,
    defended: DefendedLocalizer[Any],
    few: Sample,
    config: EvaluationConfig,
    framing: Framing | None = None,
    transplant: Transplant | None = None,
    records: Records | None = None,
    progress: Progress = silent,
) -> tuple[Alarm, ...]:
    """Return what is wrong or suspicious, in plain words; empty where nothing is.

    Args:
        rows: of the evaluation.
        defended: what was evaluated, in eval mode.
        few: some forged images, on its device, to try gradient and search on.
        config: of the evaluation.
        framing: rows of authentic and of forged images that were attacked with wrong masks.
        transplant: what the module adds, without the image that it adds it to.
        records: finished probes, which are not run again; None keeps nothing.
        progress: called with "gradient probes" and "search probes", finished and all passes of the
            localizer, and no logs.
    """
    spec = defended.spec
    # In fp32: the steps of bf16 are larger than the differences that are looked for.
    bare, exact = (mask_forward(model, spec) for model in (defended.localizer, defended))
    with outside_inference_mode():
        few = Sample(ordinary(few.images), ordinary(few.masks), few.names)
        untrained = is_untrained(defended.ansm)
        slopes = Probing("gradient probes", sum(gradient_passes(config)), records, progress)
        gradient = _gradient_doubts(defended, bare, exact, few, config, slopes)
        search = Probing("search probes", search_passes(config, rows), records, progress)
        return (
            *find_alarms(rows, framing, transplant, is_untrained=untrained),
            *(Alarm("gradient", text) for text in gradient),
            *(Alarm("search", text) for text in search_doubts(exact, few, config, search)),
            *(Alarm("unconverged", text) for text in unconverged(exact, few, config, rows, search)),
        )


def _gradient_doubts(
    defended: DefendedLocalizer[Any],
    bare: Forward,
    exact: Forward,
    few: Sample,
    config: EvaluationConfig,
    slopes: Probing,
) -> tuple[str, ...]:
    """Return reasons to distrust gradients, through the bare localizer and through the module."""
    passes, more_passes = gradient_passes(config)
    seen, seen_exact = slopes.watched(bare), slopes.watched(exact)
    activation, perturbation = defended.spec.activation, defended.pixels.perturbation
    told = f"{','.join(config.threats)} {config.white_box_steps > 0}"
    return (
        *slopes.texts(
            f"gradient bare {told}", passes, lambda: probe_bare(seen, activation, few, config)
        ),
        *slopes.texts(
            f"gradient defended {told}",
            more_passes,
            lambda: probe(seen_exact, perturbation, few, config),
        ),
    )
