"""One evaluation: every cell of the plan on every batch, scored, and what follows from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ansm_plugin.ansm import ANSM
from ansm_plugin.attacks.adaptive import adaptive_forwards
from ansm_plugin.attacks.captured import attack_forward
from ansm_plugin.data.samples import Sample, require_samples
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.evaluation.checks.alarms import UNTRAINED, Framing, is_untrained
from ansm_plugin.evaluation.checks.every import every_alarm
from ansm_plugin.evaluation.checks.transplant import TransplantTest, attacked_noise
from ansm_plugin.evaluation.config import EXPECTATION, WARM_START, EvaluationConfig
from ansm_plugin.evaluation.labels import Labels, versions
from ansm_plugin.evaluation.own import with_all
from ansm_plugin.evaluation.parts import NoiseMaker
from ansm_plugin.evaluation.plan import FRAMED, plan, view_name
from ansm_plugin.evaluation.records import Records, identity_of
from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    T3,
    T35,
    Defence,
    Evaluation,
    Rows,
    summarise,
)
from ansm_plugin.evaluation.rows import make_framing, make_intervals, make_rows
from ansm_plugin.evaluation.scores import Scores
from ansm_plugin.evaluation.scoring import Bench, Scoring
from ansm_plugin.evaluation.summary import Summary
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.modes import device_of, frozen_eval
from ansm_plugin.system.device import Computed, computed, tf32
from ansm_plugin.system.memory import Capacity
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent


@dataclass(frozen=True, kw_only=True)
class Rivals:
    """What stands beside the defended localizer, pixels -> mask logits by name.

    Attributes:
        baselines: other defences, scored wherever images do not depend on the defence.
        surrogates: what an attacker of T3 has in place of the bare localizer.
        own: the same localizer behind modules that an attacker of T3.5 trained himself
            (`own.own_modules`); they are attacked one by one, and together as "all".
    """

    baselines: Mapping[str, Forward] = field(default_factory=dict)
    surrogates: Mapping[str, Forward] = field(default_factory=dict)
    own: Mapping[str, Forward] = field(default_factory=dict)


_UNNAMED, _NO_RIVALS = Labels(), Rivals()


def evaluate(
    defended: DefendedLocalizer[Any],
    samples: Sequence[Sample],
    config: EvaluationConfig | None = None,
    *,
    labels: Labels = _UNNAMED,
    rivals: Rivals = _NO_RIVALS,
    records: Path | None = None,
    progress: Progress = silent,
    among: Processes = ALONE,
) -> Evaluation:
    """Score bare and defended localizer on original and attacked images.

    Only forged images count in F1, IoU and AUC; authentic ones give the false-positive share of T0,
    and are attacked with wrong masks alone, where the config has aims. Modules are put in eval mode
    meanwhile. Images larger than a tile of the config are attacked and scored in tiles, with one
    mask each. Each batch is read twice, the first time to look at it (`WholeImages` have done so).

    Args:
        defended: made by `wrap_with_ansm`; its device is used.
        samples: batches; a tile of all images of one is attacked at once, which decides the memory.
        config: the attacks.
        labels: names for the result.
        rivals: other defences, and what attackers of T3 and T3.5 have.
        records: file that keeps finished parts, so that the same call goes on after a kill.
        progress: called with the name of a phase ("evaluate", then those of `every_alarm`), its
            finished and all parts, and no logs.
        among: `processes()` where several processes call this alike: each takes its share of the
            batches, and all return what one process would.

    Raises:
        LocalizerError: not a defended localizer, no gradient reaches the image, or NaN comes out.
        ImageError: no forged image, or images and masks of wrong shape or range.
        ConfigError: T3 without a surrogate, T3.5 without a module of the attacker's own, or the
            records cannot be written.
    """
    _require_defended(defended)
    facts = among.once(lambda: require_samples(samples))
    bench = _bench(defended, config or EvaluationConfig(), rivals, samples)
    config = bench.config
    if is_untrained(defended.ansm) and among.is_first:
        warnings.warn(UNTRAINED, stacklevel=2)
    own = rivals.own if T35 in config.threats else {}
    identity = among.once(lambda: identity_of(defended, config, facts, own)) if records else ""
    scoring = Scoring(bench, samples, facts, Records(records, identity, among))
    # Attacks switch tf32 on for themselves.
    with frozen_eval(defended), tf32(bench.device, on=False):
        scores = scoring.run(progress, among)
        found = _judged(defended, bench, scoring, scores, progress, among)
    return replace(found, images=facts.images, **asdict(labels.filled(defended)))


def _judged(
    defended: DefendedLocalizer[Any],
    bench: Bench,
    scoring: Scoring,
    scores: Sequence[dict[Defence, Scores]],
    progress: Progress,
    among: Processes,
) -> Evaluation:
    """Return the result of the scores of all cells, still without names and number of images."""
    config = bench.config
    transplant = scoring.transplant(among)
    rows = Rows(make_rows(bench.cells, scores, config.seed))
    framing: Framing = {of: tuple(make_framing(bench.cells, scores, of)) for of in FRAMED}
    few, records = scoring.few_forged, scoring.records
    alarms = among.once(
        lambda: every_alarm(rows, defended, few(), config, framing, transplant, records, progress)
    )
    return Evaluation(
        localizer="",
        ansm="",
        images=0,
        rows=rows,
        summary=_summary(rows, bench, scores),
        alarms=alarms,
        alarm_names=tuple(alarm.name for alarm in alarms),
        command="",
        versions=versions(),
        seed=config.seed,
        framing=tuple(framing["authentic"]),
        transplant=transplant,
        computed=_computed(defended, config, bench.device),
    )


def _computed(
    defended: DefendedLocalizer[Any], config: EvaluationConfig, device: torch.device
) -> Computed:
    inside = {"ANSM": defended.ansm.precision} if isinstance(defended.ansm, ANSM) else {}
    precision = {"scores": config.precision, "attacks": config.attack_precision}
    return computed(device, **precision, **inside)


def _summary(rows: Rows, bench: Bench, scores: Sequence[dict[Defence, Scores]]) -> Summary:
    """Return the numbers to quote, with their intervals and what the white-box figures are."""
    config = bench.config
    summary: Summary = {
        **summarise(rows),
        **make_intervals(bench.cells, scores, config.seed),
    }
    if config.white_box:
        summary["white_box"] = config.white_box
    return summary


def _require_defended(defended: object) -> None:
    if not isinstance(defended, DefendedLocalizer):
        raise LocalizerError(
            f"evaluate takes a defended localizer; given {type(defended).__name__}. "
            "Make one with wrap_with_ansm(localizer, weights)."
        )


def _bench(
    defended: DefendedLocalizer[Any],
    config: EvaluationConfig,
    rivals: Rivals,
    samples: Sequence[Sample],
) -> Bench:
    """Return what is run on every batch; the config is left without views that do not exist."""
    if T3 in config.threats and not rivals.surrogates:
        raise ConfigError("T3 attacks a surrogate in place of the localizer; name at least one.")
    own = _own_modules(rivals) if T35 in config.threats else {}
    views = _views(defended, config)
    # A module of the user's own has no tanh that we know of.
    known = {WARM_START, EXPECTATION}
    possible = tuple(w for w in config.adaptive if w in known or view_name(w) in views)
    config = replace(config, adaptive=possible)
    tiling = Tiling(config.tile, defended.spec.stride)
    capacity = Capacity()
    scored = {
        name: tiling.blended(capacity.bounded(forward, f"score {name}"))
        for name, forward in (_pair(defended, config.precision) | dict(rivals.baselines)).items()
    }
    pair = _attacked_pair(defended, config.attack_precision)
    attacked = pair | dict(rivals.surrogates) | own | views
    cells = plan(config, list(rivals.baselines), list(rivals.surrogates), list(own))
    return Bench(
        cells=cells,
        scored=scored,
        suppress=tiling.blended(defended.pixels.suppress),
        transplant=TransplantTest(
            bare=scored[BARE],
            perturbation=defended.pixels.perturbation,
            tiling=tiling,
            config=config,
            noise=attacked_noise(cells, config),
            samples=samples,
        ),
        maker=NoiseMaker(forwards=attacked, config=config, tiling=tiling, capacity=capacity),
        device=device_of(defended),
    )


def _own_modules(rivals: Rivals) -> dict[str, Forward]:
    """Return what the attacker of T3.5 goes through, by names that nothing else has."""
    if not rivals.own:
        raise ConfigError("T3.5 attacks modules that the attacker trained; name at least one.")
    own = with_all(rivals.own)
    if twice := sorted(own.keys() & {*rivals.surrogates, BARE, DEFENDED}):
        raise ConfigError(f"{', '.join(twice)} names a surrogate and a module; rename one.")
    return own


def _pair(defended: DefendedLocalizer[Any], precision: str) -> dict[str, Forward]:
    return {
        BARE: mask_forward(defended.localizer, defended.spec, precision=precision),
        DEFENDED: mask_forward(defended, defended.spec, precision=precision),
    }


def _attacked_pair(defended: DefendedLocalizer[Any], precision: str) -> dict[str, Forward]:
    bare, spec = defended.localizer, defended.spec
    return {
        BARE: attack_forward(bare, spec, precision=precision),
        DEFENDED: attack_forward(defended, spec, precision=precision, as_it_is=True),
    }


def _views(defended: DefendedLocalizer[Any], config: EvaluationConfig) -> dict[str, Forward]:
    if not config.adaptive:
        return {}
    views = adaptive_forwards(defended, precision=config.attack_precision)
    return {view_name(name): view for name, view in views.items()}
