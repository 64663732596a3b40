"""Draw the picture of the README: a forged photograph and what is found in it under attack.

    PYTHONPATH=recipes python -m lab.picture recipes/lab/results/defence.png

A crop of a photograph that is built in and that no packaged weights were trained on, forged, before
the packaged pair. It is the crop `CROP` of those that are made, whatever its F1, which is drawn
too. The last mask is the limit: that attack knows the module.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.backbones.reference import crops_of
from ansm_plugin.commands.loading import load_defended
from ansm_plugin.evaluation.material import demo_data, made_samples
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.report.style import new_figure, save_figure

ATTACK, EPS_255, STEPS = "pgd", 8.0, 20
SIZE, CROP = 160, 0


class Tile(NamedTuple):
    """A part of the picture.

    Attributes:
        title: what it shows.
        pixels: `(3, H, W)` an image or `(1, H, W)` a mask, in [0, 1].
    """

    title: str
    pixels: Tensor


def forgery() -> tuple[Tensor, Tensor]:
    """Return image and mask. Shapes: `(1, 3, SIZE, SIZE)`, `(1, 1, SIZE, SIZE)`."""
    samples = made_samples(demo_data(CROP + 1, replace(crops_of(None), size=SIZE)), authentic=False)
    return samples[-1].images[-1:].float(), samples[-1].masks[-1:].float()


def attacked(forward: Forward, image: Tensor, mask: Tensor) -> Tensor:
    """Return the image with the noise of one attack through `forward`. Shapes: `(1, C, H, W)`."""
    generators = image_generators(0, ATTACK, EPS_255, range(1))
    spec = attack_spec(ATTACK, steps=STEPS)
    return run_attack(forward, image, mask, EPS_255 / 255, spec, generator=generators)


def found(title: str, forward: Forward, image: Tensor, mask: Tensor) -> Tile:
    """Return what a localizer marks, with its F1 in the title."""
    with torch.no_grad():
        logits = forward(image)
    return Tile(f"{title}\nF1 {float(f1_scores(logits, mask)):.2f}", logits[0].sigmoid())


def tiles(bare: Forward, defended: Forward) -> list[Tile]:
    """Return the parts of the picture, from left to right."""
    image, mask = forgery()
    noisy = attacked(bare, image, mask)
    return [
        Tile("forged photograph,\nwith adversarial noise", noisy[0]),
        Tile("what was forged\n", mask[0]),
        found("bare localizer,\nno attack", bare, image, mask),
        found("bare localizer,\nattacked", bare, noisy, mask),
        found("with ANSM,\nattacked", defended, noisy, mask),
        found("with ANSM, the attack\nknows it", defended, attacked(defended, image, mask), mask),
    ]


def draw(shown: Sequence[Tile], path: Path) -> Path:
    """Write the parts side by side as one PNG."""
    figure = new_figure(1.5 * len(shown), 2.2)
    for axes, tile in zip(figure.subplots(1, len(shown)).flat, shown, strict=True):
        axes.imshow(tile.pixels.clamp(0, 1).permute(1, 2, 0).numpy(), cmap="gray", vmin=0, vmax=1)
        axes.set_title(tile.title, fontsize=8)
        axes.set_axis_off()
    return save_figure(figure, path)


def main(picture: Path) -> None:
    """Attack one crop twice and draw what the packaged pair finds."""
    pair = load_defended(None, None)
    bare = mask_forward(pair.localizer, pair.spec)
    draw(tiles(bare, mask_forward(pair, pair.spec)), picture)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
