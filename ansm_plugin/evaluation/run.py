"""One evaluation: every cell of the plan on every batch, scored, and what follows from it."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, PRESETS
from ansm_plugin.attacks import Forward
from ansm_plugin.attacks.adaptive import adaptive_forwards
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError, LocalizerError
from ansm_plugin.evaluation.checks.alarms import UNTRAINED, find_alarms
from ansm_plugin.evaluation.checks.gradient import probe
from ansm_plugin.evaluation.checks.search import search_doubts
from ansm_plugin.evaluation.config import EXPECTATION, WARM_START, EvaluationConfig
from ansm_plugin.evaluation.images import Batch, shared_attacks
from ansm_plugin.evaluation.plan import Cell, plan, view_name
from ansm_plugin.evaluation.records import Records, identity_of, key_of
from ansm_plugin.evaluation.results import Defence, Evaluation, summarise
from ansm_plugin.evaluation.rows import make_rows
from ansm_plugin.evaluation.scores import Scores, joined, quality_of, require_samples, score
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import device_of, frozen_eval
from ansm_plugin.system.processes import ALONE, Processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.weights.ansm_file import identify

CellScores = Mapping[Defence, Scores]
_PACKAGES = ("torch", "timm", "segmentation_models_pytorch", "ansm_plugin")


def evaluate(
    defended: DefendedLocalizer[Any],
    samples: Sequence[Sample],
    config: EvaluationConfig | None = None,
    *,
    localizer: str = "",
    ansm: str = "",
    command: str = "",
    baselines: Mapping[str, Forward] | None = None,
    surrogates: Mapping[str, Forward] | None = None,
    records: Path | None = None,
    progress: Progress = silent,
    among: Processes = ALONE,
) -> Evaluation:
    """Score bare and defended localizer on original and attacked images.

    Only forged images count in F1, IoU and AUC, and only they are attacked; authentic ones give
    the false-positive share of the T0 rows. Modules are put in eval mode meanwhile. Images larger
    than a tile of the config are attacked and scored tile by tile, with one mask each.

    Args:
        defended: made by `wrap_with_ansm`; its device is used.
        samples: batches; a tile of all images of one is attacked at once, which decides the memory.
        config: the attacks.
        localizer: name for the result; by default family, class and hash.
        ansm: name for the result; by default preset or class.
        command: the command line, for the result.
        baselines: other defences by name, pixels -> mask logits.
        surrogates: what an attacker of T3 has, by name, pixels -> mask logits.
        records: file that keeps finished parts, so that the same call goes on after a kill.
        progress: called with "evaluate", finished and all parts, and no logs.
        among: `processes()` where several processes call this alike: each takes its share of the
            batches, and all return what one process would.

    Raises:
        LocalizerError: not a defended localizer, no gradient reaches the image, or NaN comes out.
        ImageError: no forged image, or images and masks of wrong shape or range.
        ConfigError: T3 without a surrogate, or the records cannot be written.
    """
    config = config or EvaluationConfig()
    if not isinstance(defended, DefendedLocalizer):
        raise LocalizerError(
            f"evaluate takes a defended localizer; given {type(defended).__name__}. "
            "Make one with wrap_with_ansm(localizer, weights)."
        )
    images = among.once(lambda: require_samples(samples))
    baselines, surrogates = baselines or {}, surrogates or {}
    if "T3" in config.threats and not surrogates:
        raise ConfigError("T3 attacks a surrogate in place of the localizer; name at least one.")
    is_untrained = _is_untrained(defended.ansm)
    if is_untrained and among.is_first:
        warnings.warn(UNTRAINED, stacklevel=2)
    scored = _own(defended, config.precision) | dict(baselines)
    views = _views(defended, config)
    attacked = _own(defended, config.attack_precision) | dict(surrogates) | views
    # A module of the user's own has no tanh that we know of.
    known = {WARM_START, EXPECTATION}
    possible = tuple(w for w in config.adaptive if w in known or view_name(w) in views)
    config = replace(config, adaptive=possible)
    cells = plan(config, list(baselines), list(surrogates))
    identity = among.once(lambda: identity_of(defended, config, samples, records))
    kept = Records(records, identity, among)
    tiling = Tiling(config.tile, defended.spec.stride)
    with frozen_eval(defended):
        roles = Roles(attacked, {name: tiling.blended(f) for name, f in scored.items()})
        scores = _scores(cells, roles, samples, defended, config, kept, progress, among)
        # In fp32: the steps of bf16 are larger than the differences that are looked for.
        exact = mask_forward(defended, defended.spec)
        doubts = among.once(lambda: _doubts(exact, defended, samples, config))
    rows = tuple(make_rows(cells, scores, config.seed))
    return Evaluation(
        localizer=localizer or _localizer_name(defended),
        ansm=(ansm or _ansm_name(defended.ansm)) + (", gated" if defended.gate else ""),
        images=images,
        rows=rows,
        summary=summarise(rows),
        alarms=(*find_alarms(rows, is_untrained=is_untrained), *doubts),
        command=command,
        versions={name: _version(name) for name in _PACKAGES},
        seed=config.seed,
    )


class Roles(NamedTuple):
    """Pixels -> mask logits by name: what attacks go through, and what is scored."""

    attacked: Mapping[str, Forward]
    scored: Mapping[str, Forward]


def _own(defended: DefendedLocalizer[Any], precision: str) -> dict[str, Forward]:
    return {
        "none": mask_forward(defended.localizer, defended.spec, precision=precision),
        "ansm": mask_forward(defended, defended.spec, precision=precision),
    }


def _views(defended: DefendedLocalizer[Any], config: EvaluationConfig) -> dict[str, Forward]:
    if not config.adaptive:
        return {}
    views = adaptive_forwards(defended, precision=config.attack_precision)
    return {view_name(name): view for name, view in views.items()}


def _scores(
    cells: Sequence[Cell],
    roles: Roles,
    samples: Sequence[Sample],
    defended: DefendedLocalizer[Any],
    config: EvaluationConfig,
    records: Records,
    progress: Progress,
    among: Processes,
) -> list[dict[Defence, Scores]]:
    """Return the scores of each cell and defence; one batch is in memory at a time."""
    total = len(cells) * len(samples)
    found: dict[int, list[CellScores]] = {}  # by batch: starts are seeded by its number

    tiling = Tiling(config.tile, defended.spec.stride)
    shared = shared_attacks(cells)

    def suppress(pixels: Tensor) -> Tensor:
        return pixels + defended.perturbation(defended.spec.normalise(pixels))

    for index in range(len(samples)):
        if not among.owns(index):
            continue
        batch: Batch | None = None
        found[index] = []
        for position, cell in enumerate(cells):
            key = key_of(cell, config, index)
            scores = records.get(key)
            if scores is None or set(scores) != set(cell.scored):
                batch = batch or Batch(
                    _placed(samples[index], defended), index, roles.attacked, config, tiling, shared
                )
                scores = _score_cell(batch, cell, roles.scored, tiling.blended(suppress))
                records.put(key, scores)
            found[index].append(scores)
            # Parts of other processes, which are about as far, count as finished.
            progress("evaluate", index * len(cells) + position + 1, total, {})
    parts = {index: scores for part in among.gather(found) for index, scores in part.items()}
    return [
        {d: joined([parts[index][position][d] for index in sorted(parts)]) for d in cell.scored}
        for position, cell in enumerate(cells)
    ]


def _score_cell(
    batch: Batch, cell: Cell, forwards: Mapping[str, Forward], suppress: Forward
) -> dict[str, Scores]:
    images, masks, forged, originals = batch.images(cell)
    found = {d: score(forwards[d], images, masks, forged) for d in cell.scored}
    if originals is not None:
        quality = quality_of(images, originals)  # slow, and the same before every defence
        found = {d: values._replace(**quality) for d, values in found.items()}
    elif not cell.channel:  # T0: what the defence adds where there is nothing to suppress
        chosen = images if bool(forged.all()) else images[forged]  # choosing copies
        with torch.no_grad():
            suppressed = suppress(chosen)
        found["ansm"] = found["ansm"]._replace(**quality_of(suppressed, chosen))
    return found


def _doubts(
    forward: Forward,
    defended: DefendedLocalizer[Any],
    samples: Sequence[Sample],
    config: EvaluationConfig,
) -> tuple[str, ...]:
    """Return reasons to distrust the gradient through the module, and the search along it."""
    few = _first_forged(samples, defended, Tiling(config.tile, defended.spec.stride))
    doubts = probe(
        forward, lambda x: defended.perturbation(defended.spec.normalise(x)), few, config
    )
    return (*doubts, *search_doubts(forward, few, config))


def _first_forged(
    samples: Sequence[Sample], defended: DefendedLocalizer[Any], tiling: Tiling
) -> Sample:
    """Return a few forged images of the first batch that has any, no larger than a tile."""
    for index in range(len(samples)):
        images, masks, names = _placed(samples[index], defended)
        forged = masks.flatten(1).any(1)
        if bool(forged.any()):
            images, masks = images[forged][:4], masks[forged][:4]
            rows, columns = tiling.fullest(masks)
            return Sample(images[..., rows, columns], masks[..., rows, columns], names[:4])
    raise ImageError("no image is forged.")  # require_samples has refused this before


def _placed(sample: Sample, defended: nn.Module) -> Sample:
    """Return a batch on the device of the localizer."""
    device = device_of(defended)
    images, masks, names = sample
    return Sample(images.float().to(device), masks.float().to(device), names)


def _is_untrained(ansm: nn.Module) -> bool:
    return isinstance(ansm, ANSM) and ansm.is_identity


def _localizer_name(defended: DefendedLocalizer[Any]) -> str:
    known = identify(defended.localizer, defended.spec)
    return f"{known['family']}:{known['class']} {known['sha256'][:12]}"


def _ansm_name(ansm: nn.Module) -> str:
    if not isinstance(ansm, ANSM):
        return type(ansm).__name__
    name = next((n for n, arch in PRESETS.items() if arch == ansm.architecture), "custom")
    return f"{name}, untrained" if ansm.is_identity else name


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
