"""Recipe `mgr`, stage 2: Mask-guided Refinement with the dual-mask constraint.

Attacked and original images both localize as well as before: each branch is held against a mask
(arXiv 2506.12871), by default the localizer's own of the original, and what the module adds has a
price. One joint batch carries both, so that a BatchNorm sees one population.

The paper's variant, that of version 0.1: `--mgr.target ground_truth --mgr.original-price 0
--mgr.alignment 0 --attacks.targets truth --data.forgeries.authentic 0`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.data.augment import channel, require_channels
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.recipes.branches import BranchTarget, both_masks
from ansm_plugin.recipes.branches import clean_masks as clean_masks  # its home in version 0.1
from ansm_plugin.recipes.matching import Matcher, Matching, stages_to_compare
from ansm_plugin.recipes.prices import Prices, Views, growing_noise, priced, require_shares
from ansm_plugin.recipes.run import AnsmRun, start_from
from ansm_plugin.recipes.stage import Pairs, Setup, Stage
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.losses import dual_mask
from ansm_plugin.training.step import Step, StepOutput, Turn


@dataclass(frozen=True, kw_only=True)
class Mgr(Prices, Matching):
    """Choices of stage 2, with those of `Prices` and `Matching`.

    Attributes:
        attacked_weight: of the attacked branch's mask.
        original_weight: lambda, the weight of the original branch's mask.
        bce_weight: share of cross-entropy beside soft Dice.
        target: the mask of both branches: "localizer" for the localizer's own mask of the original
            image; "independent": the same, but attacked images whose noise cannot carry the truth
            against the ground truth; "ground_truth" as in the paper, which teaches the module to
            localize by itself; "mixed": attacked images against the ground truth, originals against
            the localizer's own mask.
        channel: share of batches that pass JPEG, resize, blur or noise between attack and ANSM.
        channels: which of "jpeg", "resize", "blur" and "noise"; what is named twice is drawn twice
            as often. All alike by default.
        ramp: share of the training over which the noise of attacked images grows from nothing to
            its full size; for a module that begins with random weights.
        denoise: share of the training, at its start, without the localizer: prices alone, for a
            module that begins with random weights.
        fit: how long and how fast; a batch of n images is n / 2 attacked and n / 2 original.
    """

    attacked_weight: float = 1.0
    original_weight: float = 1.0
    bce_weight: float = 0.3
    target: BranchTarget = "localizer"
    channel: float = 0.0
    channels: tuple[str, ...] = ()
    ramp: float = 0.0
    denoise: float = 0.0
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=6000))

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers out of range, and for a contradiction."""
        Prices.__post_init__(self)
        Matching.__post_init__(self)
        require_shares(self, "channel", "ramp", "denoise")
        require_channels(self.channels)
        if self.denoise and not (self.alignment or self.relative_alignment):
            raise ConfigError(
                f"denoise is {self.denoise}, but no price is on the noise that is left; give "
                "alignment or relative_alignment a weight."
            )


@dataclass(frozen=True, kw_only=True)
class MgrRecipe(Stage):
    """All choices of a run of stage 2 alone.

    Attributes:
        start: weights of stage 1.
        mgr: choices of the stage.
    """

    start: Path | None = None
    mgr: Mgr = field(default_factory=Mgr)

    def needed_taps(self, defended: DefendedLocalizer[nn.Module]) -> tuple[str, ...]:
        """Return the stages whose features have a weight."""
        return stages_to_compare(self.mgr, defended)


RECIPE = MgrRecipe


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
    """Return the step of stage 2, which holds both branches against their masks.

    Raises:
        ConfigError: features have a weight, but nothing names taps.
    """
    matcher = Matcher(setup, mgr, mgr.fit.precision)
    # They change as little as the localizer does: made once.
    masks = branch_masks(mgr, matcher.forward, setup.pairs, setup.codes)
    pairs = setup.pairs._replace(masks=masks)

    def step(turn: Turn) -> StepOutput:
        batch, done = draw_batch(mgr, pairs, turn), turn.index / mgr.fit.steps
        suppressed = setup.suppress(torch.cat([batch.attacked, batch.originals]))
        losses = []
        if done >= mgr.denoise:
            answer = matcher.answer(suppressed.images)
            losses += [_against_masks(mgr, answer.logits, batch.targets)]
            losses += matcher.terms(answer, batch.numbers, batch.originals)
        views = Views(batch.originals, batch.attacked, suppressed.images)
        if (price := priced(mgr, views, done)) is not None:
            losses += [price]
        loss = sum(losses[1:], start=losses[0])
        logs = {"saturated": suppressed.saturated}
        return StepOutput(loss + suppressed.penalty, logs, setup.requirement(turn.index))

    return step


class Batch(NamedTuple):
    """This process's share of a batch: numbers of crops, what they show, masks of both branches."""

    numbers: Tensor
    originals: Tensor
    targets: Tensor
    attacked: Tensor


def draw_batch(mgr: Mgr, pairs: Pairs, turn: Turn) -> Batch:
    """Draw a batch for the turn of a step; `pairs` have the masks of `branch_masks`."""
    generator = turn.generator
    half = max(turn.share.count, mgr.fit.batch_size // 2)
    # Drawn for the whole batch, so that it is the same for any number of processes.
    index = pairs.pick(half, generator)
    originals, targets, attacked = pairs.rows(index)
    if mgr.ramp:
        grown = turn.index / mgr.fit.steps / mgr.ramp
        attacked = growing_noise(originals, attacked, grown)
    if float(torch.rand((), generator=generator)) < mgr.channel:
        both = torch.cat([attacked, originals])
        attacked, originals = channel(both, generator, mgr.channels).chunk(2)
    return Batch(*map(turn.share.of, (index, originals, targets, attacked)))


def _against_masks(mgr: Mgr, logits: Tensor, targets: Tensor) -> Tensor:
    """Return the loss of logits `(2B, 1, H, W)` against masks `(B, 2, H, W)`, attacked first."""
    return dual_mask(
        *logits.chunk(2),
        *targets.chunk(2, dim=1),
        attacked_weight=mgr.attacked_weight,
        original_weight=mgr.original_weight,
        bce_weight=mgr.bce_weight,
    )


def branch_masks(mgr: Mgr, forward: Forward, pairs: Pairs, codes: Tensor | None = None) -> Tensor:
    """Return the masks of both branches, `(N, 2, S, S)`: attacked, original."""
    return both_masks(mgr.target, forward, pairs, codes)
