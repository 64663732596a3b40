"""What stands beside the defended localizer in an evaluation: baselines, costs, surrogates."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.features import EncoderOnly
from ansm_plugin.attacks.seeds import attack_generator, image_generators
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.baselines import CHEAP, Baseline, Examples, fit_baseline, require_baseline
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.evaluation.config import ENCODER, EvaluationConfig
from ansm_plugin.evaluation.cost import Cost, baseline_cost, measure_cost
from ansm_plugin.evaluation.own import own_modules
from ansm_plugin.evaluation.results import DEFENDED
from ansm_plugin.evaluation.run import Rivals
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.system.memory import Capacity
from ansm_plugin.system.paths import user_path
from ansm_plugin.system.progress import Progress, silent

_EVERY_CHEAP, _NO_BASELINE = "cheap", "none"  # words that stand for several names, and for none


def baseline_names(text: Sequence[str]) -> tuple[str, ...]:
    """Return names of baselines; "cheap" stands for all that need no training, "none" for none.

    Raises:
        ConfigError: an unknown baseline.
    """
    if tuple(text) == (_NO_BASELINE,):
        return ()
    names = [part for name in text for part in (CHEAP if name == _EVERY_CHEAP else (name,))]
    return tuple(dict.fromkeys(require_baseline(name) for name in names))


def fit_baselines(
    names: Sequence[str],
    defended: DefendedLocalizer[Any],
    validation: Sequence[Sample],
    config: EvaluationConfig,
    *,
    steps: int = 300,
    progress: Progress = silent,
) -> dict[str, Baseline]:
    """Tune each baseline on validation images; return them by printable label.

    The images are attacked with the first attack of the config at its middle radius.

    Raises:
        AnsmError: no validation image is forged, or a baseline cannot be fitted.
    """
    if not names:
        return {}
    progress("fit baselines", 0, len(names), {})
    bare = mask_forward(defended.localizer, defended.spec, precision=config.attack_precision)
    tiling = Tiling(config.tile, defended.spec.stride)
    cut = [_tile(sample, tiling) for sample in validation]
    examples = _examples(bare, cut, config, device_of(defended))
    found: dict[str, Baseline] = {}
    for index, name in enumerate(names, start=1):
        generator = attack_generator(config.seed, f"baseline {name}", 0, 0)
        baseline = fit_baseline(
            name, defended, examples, generator=generator, steps=steps, precision=config.precision
        )
        found[baseline.label] = baseline
        progress("fit baselines", index, len(names), {})
    return found


def costs(
    defended: DefendedLocalizer[Any],
    baselines: dict[str, Baseline],
    size: tuple[int, int],
    progress: Progress = silent,
) -> dict[str, Cost]:
    """Measure what ANSM and baselines add to the localizer, at `size` (height, width).

    `progress` is called with "costs", finished and all defences, and no logs.
    """
    progress("costs", 0, 1 + len(baselines), {})
    bare = mask_forward(defended.localizer, defended.spec)
    module = sum(p.numel() for p in defended.ansm.parameters())
    # The gate runs the localizer twice more, which is no part of the ANSM.
    whole = mask_forward(defended, defended.spec) if defended.gate else defended.ansm
    device = device_of(defended)
    found = {
        DEFENDED: measure_cost(
            whole,
            bare,
            size=size,
            parameters=module,
            includes_localizer=defended.gate,
            device=device,
        )
    }
    progress("costs", 1, 1 + len(baselines), {})
    for number, (label, baseline) in enumerate(baselines.items(), start=2):
        found[label] = baseline_cost(baseline, bare, size=size, device=device)
        progress("costs", number, 1 + len(baselines), {})
    return found


def surrogates(
    names: Sequence[str], precision: str, defended: DefendedLocalizer[Any]
) -> dict[str, Forward]:
    """Return what attackers of T3 have instead of the bare localizer.

    They compute where the defended localizer does. Another localizer by its name (which may be the
    same architecture with weights of another seed), "NAME+ANSM.safetensors" for a defended one,
    "encoder" for the own encoder alone.

    Raises:
        AnsmError: a name or a file cannot be used.
    """
    found: dict[str, Forward] = {}
    for name in names:
        if name == ENCODER:
            found[name] = EncoderOnly(defended.localizer, defended.spec)
            continue
        localizer, plus, weights = name.partition("+")
        model = build_localizer(localizer).to(device_of(defended))
        wrapped = wrap_with_ansm(model, str(user_path(weights)) if plus else None)
        target = wrapped if plus else wrapped.localizer
        found[_short(name)] = mask_forward(target, wrapped.spec, precision=precision)
    return found


def attackers(
    names: Sequence[str],
    files: Sequence[str],
    defended: DefendedLocalizer[Any],
    config: EvaluationConfig,
) -> Rivals:
    """Return what attackers of T3 and T3.5 have: see `surrogates` and `own.own_modules`."""
    precision = config.attack_precision
    return Rivals(
        surrogates=surrogates(names, precision, defended),
        own=own_modules(files, defended, precision),
    )


def with_baselines(
    rivals: Rivals,
    others: Mapping[str, Baseline],
    defended: DefendedLocalizer[Any],
    config: EvaluationConfig,
) -> Rivals:
    """Return rivals that hold fitted baselines, too, before the bare localizer."""
    bare = mask_forward(defended.localizer, defended.spec, precision=config.precision)
    return replace(rivals, baselines={label: fitted(bare) for label, fitted in others.items()})


def _short(name: str) -> str:
    """Return a name without folders: a result must not tell where files lay."""
    return re.sub(r"[^@+]*/", "", name)


def _examples(
    forward: Forward, cut: Sequence[Sample], config: EvaluationConfig, device: torch.device
) -> Examples:
    """Return attacked validation images, of which each is a tile; cut to what all of them have."""
    height, width = (min(int(s.images.shape[d]) for s in cut) for d in (-2, -1))
    images, masks = (
        torch.cat([part[..., :height, :width] for part in parts]).to(device)
        for parts in zip(*(sample[:2] for sample in cut), strict=True)
    )
    return Examples(images, masks, _attacked(forward, images, masks, config))


def _tile(sample: Sample, tiling: Tiling) -> Sample:
    rows, columns = tiling.fullest(sample.masks)
    images, masks, names = sample
    return Sample(images[..., rows, columns].clone(), masks[..., rows, columns].clone(), names)


def _attacked(forward: Forward, images: Tensor, masks: Tensor, config: EvaluationConfig) -> Tensor:
    radii = sorted(config.eps_255)
    eps = radii[len(radii) // 2]
    spec = attack_spec(config.attacks[0], steps=config.steps)
    # 16 crops, fewer of larger images: memory stays about that of one tile.
    count = min(16, max(1, config.tile**2 // images[0, 0].numel()))

    def attacked(rows: slice) -> Tensor:
        own = image_generators(config.seed, "validation", eps, range(rows.start, rows.stop))
        return run_attack(forward, images[rows], masks[rows], eps / 255, spec, generator=own)

    return Capacity().run(attacked, len(images), "validation", most=count)
