"""Recipe `mgr`, stage 2: Mask-guided Refinement with the dual-mask constraint.

Attacked and original images both localize as well as before: each branch is held against the mask
(arXiv 2506.12871). One joint batch carries both, so that a BatchNorm sees one population.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ansm_plugin.data.augment import channel
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.recipes.run import AnsmRun, start_from
from ansm_plugin.recipes.stage import Pairs, Setup, Stage
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Step, StepOutput, Turn
from ansm_plugin.training.losses import dual_mask


@dataclass(frozen=True, kw_only=True)
class Mgr:
    """Choices of stage 2.

    Attributes:
        original_weight: lambda, the weight of the original branch.
        bce_weight: share of cross-entropy beside soft Dice.
        target: the mask of both branches: "ground_truth", or "localizer" for the localizer's own
            mask of the original image; "mixed": attacked images against the first, originals
            against the second.
        channel: share of batches that pass JPEG, resize, blur or noise between attack and ANSM.
        fit: how long and how fast; a batch of n images is n / 2 attacked and n / 2 original.
    """

    original_weight: float = 1.0
    bce_weight: float = 0.3
    target: Literal["ground_truth", "localizer", "mixed"] = "ground_truth"
    channel: float = 0.0
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=6000))


@dataclass(frozen=True, kw_only=True)
class MgrRecipe(Stage):
    """All choices of a run of stage 2 alone.

    Attributes:
        start: weights of stage 1.
        mgr: choices of the stage.
    """

    start: Path | None = None
    mgr: Mgr = field(default_factory=Mgr)


RECIPE = MgrRecipe
_BATCH = 64  # images at once where no gradient is needed


def run(recipe: MgrRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train stage 2 from stage 1; write `output/mgr.safetensors` and `output/mgr.toml`.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    if recipe.start is None:
        raise ConfigError(
            "stage 2 starts from stage 1: give start, the ffa.safetensors of `ansm train ffa`, or "
            "run `ansm train two-stage`."
        )
    # The start first: nothing is written for one that cannot be read.
    run = AnsmRun("mgr", recipe, output, start_from(recipe.start), progress=progress)
    run.claim()
    return run.train("mgr", lambda setup: make_step(setup, recipe.mgr), recipe.mgr.fit)


def make_step(setup: Setup, mgr: Mgr) -> Step:
    """Return the step of stage 2, which holds both branches against their masks."""
    forward, pairs = setup.quick_forward(mgr.fit.precision), setup.pairs
    # They change as little as the localizer does: made once.
    pairs = pairs._replace(masks=branch_masks(mgr, forward, pairs))

    def step(turn: Turn) -> StepOutput:
        share, generator = turn.share, turn.generator
        half = max(share.count, mgr.fit.batch_size // 2)
        # Drawn for the whole batch, so that it is the same for any number of processes.
        originals, targets, attacked = pairs.draw(half, generator)
        if float(torch.rand((), generator=generator)) < mgr.channel:
            attacked, originals = channel(torch.cat([attacked, originals]), generator).chunk(2)
        suppressed = setup.suppress(torch.cat([share.of(attacked), share.of(originals)]))
        attacked_logits, original_logits = forward(suppressed.images).chunk(2)
        of_attacked, of_originals = share.of(targets).chunk(2, dim=1)
        loss = dual_mask(
            attacked_logits,
            original_logits,
            of_attacked,
            of_originals,
            original_weight=mgr.original_weight,
            bce_weight=mgr.bce_weight,
        )
        return StepOutput(loss + suppressed.penalty, {"saturated": suppressed.saturated})

    return step


def branch_masks(mgr: Mgr, forward: Forward, pairs: Pairs) -> Tensor:
    """Return the masks of both branches, `(N, 2, S, S)`: attacked, original."""
    if mgr.target == "ground_truth":
        return pairs.masks.expand(-1, 2, -1, -1)
    own = clean_masks(forward, pairs.originals)
    return torch.cat([pairs.masks if mgr.target == "mixed" else own, own], dim=1)


def clean_masks(forward: Forward, originals: Tensor) -> Tensor:
    """Return the localizer's own masks of original images.

    Shape: `(N, 3, H, W)` uint8 -> `(N, 1, H, W)` uint8 in {0, 1}.
    """
    with torch.no_grad():
        parts = [forward(part.float().div(255)) > 0 for part in torch.split(originals, _BATCH)]
    return torch.cat(parts).to(torch.uint8)
