"""Draw the masks that the ANSM rescues worst.

    PYTHONPATH=recipes python -m lab.worst PAIR BED OUTPUT.png

PAIR is a short name such as bsds-cnn, BED the test folder with `images` and `masks`. The attack is
the one of `ATTACK`, through the bare localizer (T1). Masks alone are drawn: the photographs are not
ours to publish. The table of what is drawn is printed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ansm_plugin.commands.loading import load_defended
from ansm_plugin.evaluation import EvaluationConfig
from ansm_plugin.evaluation.material import Source, read_material
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.report.panels import Panel, panels

ATTACK, EPS = "cospgd", 8.0
SHOWN = 6


def score(probabilities: Tensor, mask: Tensor) -> float:
    """Return F1 of one mask. Shape: both `(1, H, W)`."""
    return float(f1_scores(torch.logit(probabilities[None], 1e-6), mask[None]))


def describe(panel: Panel) -> str:
    """Return a row of the table: F1 and what kind of pixels are wrong."""
    truth, found = panel.mask > 0.5, panel.defended > 0.5
    missed = (truth & ~found).sum() / truth.sum()
    wrong = (found & ~truth).sum() / (~truth).sum()
    area = truth.float().mean()
    return (
        f"| {panel.name} | {area:.0%} | {score(panel.bare, panel.mask):.3f} | "
        f"{score(panel.defended, panel.mask):.3f} | {missed:.0%} | {wrong:.1%} |"
    )


def draw(worst: Sequence[Panel], path: Path) -> None:
    """Draw truth, bare mask and defended mask of every image, one column each."""
    figure = Figure(figsize=(2 * len(worst), 6.2), layout="constrained")
    grid = figure.subplots(3, len(worst), squeeze=False)
    for column, panel in zip(grid.T, worst, strict=True):
        tiles = (
            (panel.name, panel.mask),
            (f"bare {score(panel.bare, panel.mask):.2f}", panel.bare),
            (f"defended {score(panel.defended, panel.mask):.2f}", panel.defended),
        )
        for axes, (title, mask) in zip(column, tiles, strict=True):
            axes.imshow(mask[0].numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_title(title, fontsize=8, parse_math=False)
            axes.set_axis_off()
    figure.suptitle(f"T1 {ATTACK} at {EPS:g}/255: truth, bare and defended mask with F1")
    figure.savefig(path, dpi=110)


def main(pair: str, bed: Path, picture: Path) -> None:
    """Attack every forged image of a bed; show the ones with the least F1 behind the ANSM."""
    defended = load_defended(pair, None)
    material = read_material(Source(bed / "images", bed / "masks"), 0)
    config = EvaluationConfig(attacks=(ATTACK,), eps_255=(EPS,), attack_precision="bf16")
    shown = panels(defended, material.scored, config, ATTACK, EPS)
    worst = sorted(shown, key=lambda panel: score(panel.defended, panel.mask))[:SHOWN]
    print("| image | forged | F1 bare | F1 defended | missed of it | falsely marked |")
    print("|---|---|---|---|---|---|", *map(describe, worst), sep="\n")
    draw(worst, picture)


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(sys.argv[1], *map(Path, sys.argv[2:]))
