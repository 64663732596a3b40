"""Recipe `hardened`, stage 3: against the attacker who knows the module.

Each step attacks ANSM and localizer together and holds three versions of the same crops against a
mask, by default the localizer's own of the original: attacked with knowledge (T4), attacked without
(T1, made once) and original. What the module adds has the prices of stage 2. The module alone is
trained, or a few parameters of a copy of the localizer with it (`tune`), or these alone
(`alone`), which is adversarial fine-tuning (Madry et al., ICLR 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.captured import attack_forward
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.modes import frozen_eval
from ansm_plugin.recipes.knowing import Hardened, Material, draw_search, version_masks
from ansm_plugin.recipes.overfitting import Watch, hold_out
from ansm_plugin.recipes.prices import Views, priced
from ansm_plugin.recipes.run import AnsmRun, set_aside, start_with
from ansm_plugin.recipes.stage import Setup, Stage, Suppressed
from ansm_plugin.recipes.tuning import Tune, merged, tunable_copy, tuned_parameters
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.losses import dual_mask, mask_loss
from ansm_plugin.training.step import Step, StepOutput, Turn
from ansm_plugin.weights.adapters import save_adapter

NAME = "hardened"


@dataclass(frozen=True, kw_only=True)
class HardenedRecipe(Stage):
    """All choices of a run of stage 3.

    Attributes:
        start: weights of stage 2.
        ansm: preset of a fresh module, to train without `start`.
        tune: parameters of the localizer that are trained too, on a copy: none, those of its
            normalisation layers, low-rank changes of its weights, or all.
        rank: of the low-rank changes.
        alone: train the copy of the localizer without an ANSM, to compare.
        hardened: choices of the stage.
    """

    start: Path | None = None
    ansm: str = ""
    tune: Tune = "none"
    rank: int = 4
    alone: bool = False
    hardened: Hardened = field(default_factory=Hardened)


RECIPE = HardenedRecipe


def run(recipe: HardenedRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train stage 3; write `hardened.toml`, `hardened.safetensors` and `adapter.safetensors`.

    The adapter is written where the localizer is tuned, the ANSM unless it is tuned alone.

    Returns:
        the file of the ANSM, or of the adapter where that is alone.

    Raises:
        AnsmError: a name, a file or a folder cannot be used, or training stopped.
    """
    _require_a_subject(recipe)
    # The start first: nothing is written for one that cannot be read.
    start = start_with(recipe.ansm or "tiny", recipe.start, recipe.hardened.fit.seed)
    run = AnsmRun(NAME, recipe, output, start, progress=progress)
    run.claim()
    setup = run.setup if recipe.tune == "none" else tunable(run.setup, recipe)
    step = setup.each(partial(make_step, hardened=recipe.hardened, alone=recipe.alone))
    # The pair keeps its localizer in eval mode, and the ANSM alone would leave out what is tuned.
    trained = setup.ansm if recipe.tune == "none" else setup.defended
    return run.fit(
        NAME,
        trained,
        step,
        recipe.hardened.fit,
        decided=run.decided(),
        write=lambda logs: write_weights(run, setup, logs),
    )


def _require_a_subject(recipe: HardenedRecipe) -> None:
    if recipe.alone and (recipe.start or recipe.ansm or recipe.tune == "none"):
        raise ConfigError(
            "alone trains the localizer without an ANSM: give tune (norm, lora or all), and leave "
            "out start and ansm."
        )
    if not recipe.alone and (recipe.start is None) == (not recipe.ansm):
        raise ConfigError(
            "stage 3 starts from stage 2: give start, the mgr.safetensors of `ansm train mgr` or "
            "`ansm train two-stage`; or, to train from scratch, a preset as ansm (`--preset`), not "
            "both."
        )
    if recipe.also and recipe.tune != "none":
        raise ConfigError(
            f"tune {recipe.tune!r} trains one localizer, but also names {len(recipe.also)} more; "
            "train an adapter for each, or tune none."
        )


def write_weights(run: AnsmRun, setup: Setup, logs: dict[str, float]) -> Path:
    """Write the adapter and the ANSM of a finished run, whichever was trained.

    Args:
        run: of a `HardenedRecipe`; its own setup holds the localizer as it was given.
        setup: what was trained.
        logs: the last ones.

    Returns:
        the file of the ANSM, or of the adapter where that is alone.
    """
    recipe, adapter = run.recipe, run.output / "adapter.safetensors"
    if recipe.tune != "none":
        given, tuned = run.setup.defended.localizer, merged(setup.defended.localizer)
        table = run.trainings[NAME]["recipe"]
        set_aside(adapter)
        save_adapter(tuned, given, adapter, recipe=table, parent=run.parent)
    if recipe.alone:
        return adapter
    # After the merge: its state is what the module was trained for.
    return run.write_ansm(NAME, setup, logs)


def tunable(setup: Setup, recipe: HardenedRecipe) -> Setup:
    """Return the setup with a copy of the localizer whose chosen parameters are trained."""
    seed = recipe.hardened.fit.seed
    copied = tunable_copy(setup.defended.localizer, recipe.tune, rank=recipe.rank, seed=seed)
    defended: DefendedLocalizer[nn.Module] = DefendedLocalizer(copied, setup.ansm, setup.spec)
    for parameter in tuned_parameters(copied, recipe.tune):
        parameter.requires_grad_(True)
    if recipe.alone:
        setup.ansm.requires_grad_(False)
    return replace(setup, defended=defended.eval())


def make_step(setup: Setup, hardened: Hardened, *, alone: bool = False) -> Step:
    """Return the step of stage 3, which attacks module and localizer first.

    `alone` leaves the module out of both: images are attacked and scored without it.
    """
    precision, steps = hardened.fit.precision, hardened.fit.steps
    forward = setup.forward(precision)
    attacked_model = setup.defended.localizer if alone else setup.defended
    # As it is: its weights change from step to step.
    knowing = attack_forward(attacked_model, setup.spec, precision=precision, as_it_is=True)
    pairs, held = hold_out(setup.pairs, hardened.checks.images)
    watch = Watch(
        knowing,
        attacked_model,
        held,
        attack=attack_spec(hardened.attacks[0], steps=hardened.attack_steps),
        eps=max(hardened.eps_255) / 255,
        checks=hardened.checks,
    )
    material = Material.of(setup, hardened, pairs, forward)

    def step(turn: Turn) -> StepOutput:
        search = draw_search(hardened, material.pairs, turn, material.teller).of(turn.share)
        originals, masks, attacked, start, radii = search.tensors
        spec = attack_spec(search.attack, steps=hardened.attack_steps)
        with frozen_eval(attacked_model):
            hardest = run_attack(knowing, originals, search.told.masks, radii, spec, start=start)
        versions = torch.cat([hardest, attacked, originals])
        suppressed = _as_they_are(versions) if alone else setup.suppress(versions)
        held_to = version_masks(hardened.target, masks, search.told.codes)
        loss = _loss(hardened, forward(suppressed.images), held_to)
        views = Views(originals, versions[: -len(originals)], suppressed.images)
        price = None if alone else priced(hardened, views, turn.index / steps)
        logs: dict[str, float | Tensor] = {"saturated": suppressed.saturated}
        logs |= watch.look(turn.index, steps)
        total = loss if price is None else loss + price
        return StepOutput(total + suppressed.penalty, logs, setup.requirement(turn.index))

    return step


def _as_they_are(images: Tensor) -> Suppressed:
    return Suppressed(images, images.new_zeros(()), images.new_zeros(()))


def _loss(hardened: Hardened, logits: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of logits `(3B, 1, H, W)` against masks of the same shape.

    In threes: attacked with knowledge, without, original.
    """
    with_knowledge, without, clean = logits.chunk(3)
    known, of_attacked, of_originals = masks.chunk(3)
    share = hardened.bce_weight
    return hardened.knowing_weight * mask_loss(with_knowledge, known, bce_weight=share) + dual_mask(
        without,
        clean,
        of_attacked,
        of_originals,
        original_weight=hardened.original_weight,
        bce_weight=share,
    )
