"""Recipe `hardened`, stage 3: against the attacker who knows the module.

Each step attacks ANSM and localizer together and holds three versions of the same crops against the
mask: attacked with knowledge (T4), attacked without (T1, made once) and original. The module alone
is trained, or a few parameters of a copy of the localizer with it (`tune`), or these alone
(`alone`), which is adversarial fine-tuning (Madry et al., ICLR 2018).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import frozen_eval
from ansm_plugin.recipes.config import save_config
from ansm_plugin.recipes.ffa import first_module
from ansm_plugin.recipes.overfitting import Checks, Watch, hold_out
from ansm_plugin.recipes.stage import Pairs, Stage, Suppressed, Workplace, prepare
from ansm_plugin.recipes.tuning import Tune, merged, tunable_copy, tuned_parameters
from ansm_plugin.system.processes import processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.checkpoints import require_own_checkpoint
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.loop import Shard, Step, StepOutput, discard_checkpoint, fit, step_index
from ansm_plugin.training.losses import dual_mask, mask_loss
from ansm_plugin.weights.adapters import save_adapter
from ansm_plugin.weights.ansm_file import save_ansm

NAME = "hardened"


@dataclass(frozen=True, kw_only=True)
class Hardened:
    """Choices of stage 3.

    Attributes:
        attacks: names of attacks on module and localizer together; one is drawn per batch.
        eps_255: their radii in grey levels; one is drawn per image.
        attack_steps: their gradient steps.
        ramp: share of the training over which radii grow from 0 to their full size.
        warm_start: share of images whose attack starts at their noise of T1; others at random.
        knowing_weight: of the images attacked with knowledge.
        original_weight: of the originals.
        bce_weight: share of cross-entropy beside soft Dice.
        checks: against overfitting to weak attacks.
        fit: how long and how fast; a batch of n images is three versions of n / 3 crops.
    """

    attacks: tuple[str, ...] = ("margin", "cospgd")
    eps_255: tuple[float, ...] = (1.0, 2.0, 4.0)
    attack_steps: int = 3
    ramp: float = 0.3
    warm_start: float = 0.25
    knowing_weight: float = 1.0
    original_weight: float = 1.0
    bce_weight: float = 0.3
    checks: Checks = field(default_factory=Checks)
    fit: FitConfig = field(default_factory=lambda: FitConfig(steps=6000, batch_size=48))

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and numbers out of range."""
        for name in self.attacks:
            attack_spec(name, steps=self.attack_steps)
        if not self.attacks or not self.eps_255 or not all(0 < e <= 255 for e in self.eps_255):
            raise ConfigError(
                f"attacks {self.attacks} and eps_255 {self.eps_255} need one entry each or more, "
                "eps_255 in (0, 255]."
            )
        for name in ("ramp", "warm_start"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; allowed: 0 to 1.")


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
    # The file first: nothing is written for a start that cannot be read.
    ansm, parent = first_module(recipe.ansm or "tiny", recipe.start, recipe.hardened.fit.seed)
    require_own_checkpoint(output, NAME, {"recipe": asdict(recipe)})
    save_config(recipe, output / f"{NAME}.toml")
    place = prepare(recipe, ansm, output, progress)
    return run_stage(place, recipe, output, parent=parent, progress=progress)


def _require_a_subject(recipe: HardenedRecipe) -> None:
    if recipe.alone and (recipe.start or recipe.ansm or recipe.tune == "none"):
        raise ConfigError(
            "alone trains the localizer without an ANSM: give tune (norm, lora or all), and leave "
            "out start and ansm."
        )
    if not recipe.alone and (recipe.start is None) == (not recipe.ansm):
        raise ConfigError(
            "stage 3 starts from stage 2: give start, the mgr.safetensors of `ansm train mgr` or "
            "`ansm train two-stage`; or, to train from scratch, a preset as ansm, not both."
        )
    if recipe.also and recipe.tune != "none":
        raise ConfigError(
            f"tune {recipe.tune!r} trains one localizer, but also names {len(recipe.also)} more; "
            "train an adapter for each, or tune none."
        )


def run_stage(
    place: Workplace,
    recipe: HardenedRecipe,
    output: Path,
    *,
    parent: str = "",
    progress: Progress = silent,
) -> Path:
    """Harden what stands at a prepared workplace; write the files."""
    table, given = asdict(recipe), place.defended.localizer
    identity = {"recipe": table, "localizer": place.identify(), "parent": parent}
    if recipe.tune != "none":
        place = tunable(place, recipe)
    last: dict[str, float] = {}

    def watch(stage: str, done: int, steps: int, logs: dict[str, float]) -> None:
        last.update(logs)
        progress(stage, done, steps, logs)

    step = place.each(lambda one: make_step(one, recipe.hardened, alone=recipe.alone))
    # The pair keeps its localizer in eval mode, and the ANSM alone would leave out what is tuned.
    trained = place.ansm if recipe.tune == "none" else place.defended
    fit(NAME, trained, step, recipe.hardened.fit, folder=output, identity=identity, progress=watch)

    def keep() -> Path:
        adapter, path = output / "adapter.safetensors", output / f"{NAME}.safetensors"
        if recipe.tune != "none":
            merged(place.defended.localizer)
            save_adapter(place.defended.localizer, given, adapter, recipe=table, parent=parent)
        if not recipe.alone:
            # After the merge: its state is what the module was trained for.
            save_ansm(place.ansm, path, place.provenance(NAME, table, last, parent))
        discard_checkpoint(output, NAME)
        return adapter if recipe.alone else path

    return processes().once(keep)


def tunable(place: Workplace, recipe: HardenedRecipe) -> Workplace:
    """Return the workplace with a copy of the localizer whose chosen parameters are trained."""
    seed = recipe.hardened.fit.seed
    copied = tunable_copy(place.defended.localizer, recipe.tune, rank=recipe.rank, seed=seed)
    defended: DefendedLocalizer[nn.Module] = DefendedLocalizer(copied, place.ansm, place.spec)
    for parameter in tuned_parameters(copied, recipe.tune):
        parameter.requires_grad_(True)
    if recipe.alone:
        place.ansm.requires_grad_(False)
    return replace(place, defended=defended.eval())


def make_step(place: Workplace, hardened: Hardened, *, alone: bool = False) -> Step:
    """Return the step of stage 3 at a prepared workplace."""
    precision = hardened.fit.precision
    forward = place.forward(precision)
    attacked_model = place.defended.localizer if alone else place.defended
    knowing = mask_forward(attacked_model, place.spec, precision=precision)
    pairs, held = hold_out(place.pairs, hardened.checks.images)
    watch = Watch(
        knowing,
        attacked_model,
        held,
        attack=attack_spec(hardened.attacks[0], steps=hardened.attack_steps),
        eps=max(hardened.eps_255) / 255,
        checks=hardened.checks,
    )

    def suppress(images: Tensor) -> Suppressed:
        return Suppressed(images, images.new_zeros(()), 0.0) if alone else place.suppress(images)

    def step(generator: torch.Generator, shard: Shard) -> StepOutput:
        done = step_index(generator, hardened.fit.seed)
        third = max(shard.count, hardened.fit.batch_size // 3)
        search = draw_search(hardened, pairs, third, generator, done / hardened.fit.steps)
        # Drawn for the whole batch, so that it is the same for any number of processes.
        originals, masks, attacked, start, radii = (shard.of(t) for t in search.tensors)
        spec = attack_spec(search.attack, steps=hardened.attack_steps)
        with frozen_eval(attacked_model):
            hardest = run_attack(knowing, originals, masks, radii, spec, start=start)
        suppressed = suppress(torch.cat([hardest, attacked, originals]))
        with_knowledge, without, clean = forward(suppressed.images).chunk(3)
        share = hardened.bce_weight
        loss = hardened.knowing_weight * mask_loss(
            with_knowledge, masks, bce_weight=share
        ) + dual_mask(
            without, clean, masks, original_weight=hardened.original_weight, bce_weight=share
        )
        logs = {"saturated": suppressed.saturated, **watch.look(done, hardened.fit.steps)}
        return StepOutput(loss + suppressed.penalty, logs)

    return step


@dataclass(frozen=True)
class Search:
    """What the attacks of one batch search, drawn.

    Attributes:
        attack: name in `ATTACKS`.
        tensors: originals, masks and T1 versions as floats, first points, radii `(B,)` in pixel
            units.
    """

    attack: str
    tensors: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def draw_search(
    hardened: Hardened, pairs: Pairs, count: int, generator: torch.Generator, progress: float
) -> Search:
    """Draw crops, an attack, its radii and where it starts; `progress` is in [0, 1)."""
    originals, masks, attacked = pairs.draw(count, generator, Shard(0, 1))
    name = hardened.attacks[int(torch.randint(len(hardened.attacks), (), generator=generator))]
    choice = torch.randint(len(hardened.eps_255), (count,), generator=generator)
    grown = min(1.0, progress / hardened.ramp) if hardened.ramp else 1.0
    radii = (grown * torch.tensor(hardened.eps_255)[choice] / 255).to(originals.device)
    noise = (2 * torch.rand(originals.shape, generator=generator) - 1).to(originals.device)
    warm = torch.rand(count, generator=generator).to(originals.device) < hardened.warm_start
    random = originals + radii.view(-1, 1, 1, 1) * noise
    start = torch.where(warm.view(-1, 1, 1, 1), attacked, random)
    return Search(name, (originals, masks, attacked, start, radii))
