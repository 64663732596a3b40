"""Pictures of an evaluation: one panel per image, and the summary plot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.ready import needs_gradient
from ansm_plugin.evaluation.results import Evaluation
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.gradient import gradient_share
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.report.style import GAIN, new_figure, save_figure, title_lines
from ansm_plugin.report.summary import save_summary
from ansm_plugin.system.progress import Progress, silent

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_PANELS = 8
_WIDTH, _POINTS = 9.0, 12.0  # of a panel in inches, of its title


class Panel(NamedTuple):
    """What happened to one image.

    Attributes:
        name: of the image.
        image: `(3, H, W)` in [0, 1], as the localizers got it.
        noise: `(3, H, W)` in pixel units: what the attacker added.
        mask: `(1, H, W)` in {0, 1}: the truth.
        bare: `(1, H, W)` in [0, 1]: probabilities of the bare localizer.
        perturbation: `(3, H, W)` in pixel units: what the ANSM added.
        defended: `(1, H, W)` in [0, 1]: probabilities of the defended localizer.
    """

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
    progress: Progress = silent,
) -> list[Path]:
    """Write `summary.png` and up to 8 `panels/NN.png`; return their paths.

    The panels show the first attack of the config at its largest radius; there are none of a
    localizer without a gradient. `progress` is called with "pictures", finished and all of them,
    and no logs.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    attack, eps = config.attacks[0], max(config.eps_255)
    count = 1 + min(MOST_PANELS, evaluation.images)  # less where some are authentic
    progress("pictures", 0, count, {})
    written = [save_summary(output / "summary.png", evaluation)]
    most = MOST_PANELS if _can_be_shown(defended, config) else 0
    shown = islice(panels(defended, samples, config, attack, eps), most)
    for number, panel in enumerate(shown, start=1):
        path = output / "panels" / f"{number:02d}.png"
        written.append(save_panel(path, panel, f"{panel.name}, {attack} at {eps:g}/255"))
        progress("pictures", len(written), count, {})
    if len(written) < count:
        progress("pictures", count, count, {})
    return written


def _can_be_shown(defended: DefendedLocalizer[nn.Module], config: EvaluationConfig) -> bool:
    """Return whether an attack can be shown; an evaluation by answers alone needs no gradient."""
    return needs_gradient(config) or not gradient_share(defended.localizer, defended.spec).is_cut


def panels(
    defended: DefendedLocalizer[nn.Module],
    samples: Sequence[Sample],
    config: EvaluationConfig,
    attack: str,
    eps: float,
) -> Iterator[Panel]:
    """Yield the forged images of all samples under one attack through the bare localizer.

    The noise is that of the evaluation with the same config: same numbers of images, same random
    starts. Of images larger than a tile, one tile of the most forged pixels is attacked and shown.
    """
    spec = attack_spec(attack, steps=config.steps)
    bare = mask_forward(defended.localizer, defended.spec, precision=config.precision)
    guarded = mask_forward(defended, defended.spec, precision=config.precision)
    device = device_of(defended)
    tiling = Tiling(config.tile, defended.spec.stride)
    first = 0
    for sample in samples:
        numbers = range(first, first + len(sample.names))
        first = numbers.stop
        forged = sample.masks.flatten(1).any(1)
        if not bool(forged.any()):
            continue
        rows, columns = tiling.fullest(sample.masks)
        images, masks = (t[forged][..., rows, columns].float().to(device) for t in sample[:2])
        own = [number for number, chosen in zip(numbers, forged, strict=True) if chosen]
        generators = image_generators(config.seed, attack, eps, own)
        attacked = run_attack(bare, images, masks, eps / 255, spec, generator=generators)
        with torch.no_grad():
            yield from map(
                Panel,
                [name for name, is_forged in zip(sample.names, forged, strict=True) if is_forged],
                attacked,
                attacked - images,
                masks,
                bare(attacked).sigmoid(),
                defended.pixels.perturbation(attacked),
                guarded(attacked).sigmoid(),
            )


def save_panel(path: str | Path, panel: Panel, title: str) -> Path:
    """Write one PNG of six tiles that shows what happened to one image, with a title above them.

    Raises:
        ConfigError: the folder cannot be written, or the disk is full.
    """
    tiles = (
        ("image", panel.image),
        (f"adversarial noise x{GAIN}", 0.5 + GAIN * panel.noise),
        ("true mask", panel.mask),
        (f"bare mask{_f1(panel.bare, panel.mask)}", panel.bare),
        (f"defensive perturbation x{GAIN}", 0.5 + GAIN * panel.perturbation),
        (f"defended mask{_f1(panel.defended, panel.mask)}", panel.defended),
    )
    height, width = panel.image.shape[-2:]
    figure = new_figure(_WIDTH, min(12.0, 0.4 + 2 * (0.35 + 2.93 * height / width)))
    for axes, (name, pixels) in zip(figure.subplots(2, 3).flat, tiles, strict=True):
        _tile(axes, name, pixels)
    lines = title_lines(title, _WIDTH, _POINTS)
    figure.suptitle(lines, fontsize=_POINTS, fontweight="bold", parse_math=False)
    return save_figure(figure, path)


def _f1(probabilities: Tensor, mask: Tensor) -> str:
    if not bool(mask.any()):
        return ""  # F1 says nothing about an authentic image
    return f", F1 {float(f1_scores(probabilities.detach()[None] - 0.5, mask[None])):.2f}"


def _tile(axes: Axes, name: str, pixels: Tensor) -> None:
    shown = pixels.detach().float().clamp(0, 1).cpu().permute(1, 2, 0).numpy()
    # "auto" shows the pixels of a small crop as they are, and a large image without aliasing.
    axes.imshow(shown, cmap="gray", vmin=0, vmax=1, interpolation="auto")
    axes.set_title(name, fontsize=10)
    axes.set_xticks([])
    axes.set_yticks([])
