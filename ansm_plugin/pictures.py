"""Pictures of an evaluation: one panel per image, and the summary plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation import (
    Evaluation,
    EvaluationConfig,
    Sample,
    attack_generator,
    save_panel,
    save_summary,
)
from ansm_plugin.localizer import mask_forward
from ansm_plugin.tiles import Tiling

MOST_PANELS = 8


class Panel(NamedTuple):
    """What happened to one image; pixels `(3, H, W)`, masks `(1, H, W)`, as `save_panel` takes."""

    name: str
    image: Tensor
    noise: Tensor
    mask: Tensor
    bare: Tensor
    perturbation: Tensor
    defended: Tensor


def save_pictures(
    defended: DefendedLocalizer[nn.Module],
    samples: Sequence[Sample],
    evaluation: Evaluation,
    config: EvaluationConfig,
    output: Path,
) -> list[Path]:
    """Write `summary.png` and up to 8 `panels/NN.png`; return their paths.

    The panels show the first attack of the config at its largest radius.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    attack, eps = config.attacks[0], max(config.eps_255)
    written = [save_summary(output / "summary.png", evaluation)]
    shown = islice(panels(defended, samples, config, attack, eps), MOST_PANELS)
    for number, panel in enumerate(shown, start=1):
        pixels = panel._asdict()
        title = f"{pixels.pop('name')}, {attack} at {eps:g}/255"
        path = output / "panels" / f"{number:02d}.png"
        written.append(save_panel(path, **pixels, title=title))
    return written


def panels(
    defended: DefendedLocalizer[nn.Module],
    samples: Sequence[Sample],
    config: EvaluationConfig,
    attack: str,
    eps: float,
) -> Iterator[Panel]:
    """Yield the forged images of all samples under one attack through the bare localizer.

    The noise is that of the evaluation with the same config: same batches, same random start. Of
    images larger than a tile, one tile of the most forged pixels is attacked and shown.
    """
    spec = attack_spec(attack, steps=config.steps)
    bare = mask_forward(defended.localizer, defended.spec, precision=config.precision)
    guarded = mask_forward(defended, defended.spec, precision=config.precision)
    device = next((p.device for p in defended.parameters()), torch.device("cpu"))
    tiling = Tiling(config.tile, defended.spec.stride)
    for index, sample in enumerate(samples):
        forged = sample.masks.flatten(1).any(1)
        if not bool(forged.any()):
            continue
        rows, columns = tiling.fullest(sample.masks)
        images, masks = (t[forged][..., rows, columns].float().to(device) for t in sample[:2])
        generator = attack_generator(config.seed, attack, eps, index)
        attacked = run_attack(bare, images, masks, eps / 255, spec, generator=generator)
        with torch.no_grad():
            yield from map(
                Panel,
                [name for name, is_forged in zip(sample.names, forged, strict=True) if is_forged],
                attacked,
                attacked - images,
                masks,
                bare(attacked).sigmoid(),
                defended.perturbation(defended.spec.normalise(attacked)),
                guarded(attacked).sigmoid(),
            )
