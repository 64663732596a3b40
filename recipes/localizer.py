"""Recipe `localizer`: train a localizer on forged crops; for users who have none yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ansm_plugin.backbones.reference import SMALL_LOCALIZER, build_architecture
from ansm_plugin.data.augment import dihedral, photometric
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.data.forgeries import Forgeries
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes.distillation import Lesson
from ansm_plugin.recipes.run import Run
from ansm_plugin.recipes.said import SaidOfLocalizer
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.config import FitConfig
from ansm_plugin.training.device import training_device
from ansm_plugin.training.kept import kept_crops
from ansm_plugin.training.losses import mask_loss
from ansm_plugin.training.randomness import seeded
from ansm_plugin.training.sending import sent
from ansm_plugin.training.step import Step, StepOutput, Turn
from ansm_plugin.weights.tensors import (
    load_localizer_weights,
    sha256_of,
    tensor_names,
    write_tensors,
)

Loss = Callable[[Tensor, Tensor], Tensor]  # of images and masks, `(B, C, H, W)` in [0, 1]


@dataclass(frozen=True, kw_only=True)
class LocalizerRecipe(SaidOfLocalizer):
    """All choices of the recipe, with what is said of the localizer.

    Attributes:
        localizer: its name; weights behind `@` are not used, training starts at random ones.
        start: weights to start from instead: of the whole localizer (to go on with other data), or
            of its `encoder` alone.
        data: the forged crops.
        bce_weight: share of cross-entropy beside soft Dice.
        residual_stem: 0 leaves the start as it is; more makes the first convolution start as
            high-pass filters of this gain, which look at noise instead of content.
        photometric: share of batches with changed brightness, contrast and gamma.
        teacher: name of a localizer to learn from too, with `@weights`; "" is none.
        teacher_weight: of the teacher's masks and features beside the ground truth.
        hints: taps whose features are taught, of equal stride in both, such as `encoder[3]`.
        fit: how long and how fast.
    """

    localizer: str = SMALL_LOCALIZER
    start: Path | None = None
    data: DataConfig = field(default_factory=lambda: DataConfig(count=32768))
    bce_weight: float = 0.3
    residual_stem: float = 0.0
    photometric: float = 0.5
    teacher: str = ""
    teacher_weight: float = 1.0
    hints: tuple[str, ...] = ()
    fit: FitConfig = field(
        default_factory=lambda: FitConfig(steps=4000, learning_rate=2e-3, weight_decay=1e-2)
    )


RECIPE = LocalizerRecipe


def run(recipe: LocalizerRecipe, output: Path, progress: Progress = silent) -> Path:
    """Train and write `output/localizer.safetensors` and `output/localizer.toml`.

    Returns:
        the weights file.

    Raises:
        AnsmError: the data, the name or the folder cannot be used, or training stopped.
    """
    trainings = {"localizer": asdict(recipe)}
    run = Run("localizer", recipe, output, trainings=trainings, progress=progress)
    run.claim()
    model = first_model(recipe)
    trained, loss_of = objective(recipe, model)
    crops = kept_crops(recipe.data, output, progress).to(training_device())
    step = make_step(recipe, crops, loss_of)

    def write(logs: dict[str, float]) -> Path:
        metadata = {"format": "localizer", "name": recipe.localizer, "sha256": fingerprint(model)}
        return write_tensors(model.state_dict(), output / "localizer.safetensors", metadata)

    decided = {"parent": sha256_of(recipe.start) if recipe.start else ""}
    return run.fit("localizer", trained, step, recipe.fit, decided=decided, write=write)


def first_model(recipe: LocalizerRecipe) -> nn.Module:
    """Return the localizer that training begins with, on the device that it is trained on.

    Raises:
        AnsmError: the name, or the weights to start from, cannot be used.
    """
    with seeded(recipe.fit.seed):
        model = build_architecture(recipe.localizer)
        recipe.facts.state(model)
    if recipe.start is not None:
        load_start(model, recipe.start)
    if recipe.residual_stem:
        make_residual(model, recipe.residual_stem)
    model.to(memory_format=torch.channels_last)
    return model.to(training_device())


def make_step(recipe: LocalizerRecipe, crops: Forgeries, loss_of: Loss) -> Step:
    """Return the step on crops, turned and mirrored, some with other light."""

    def step(turn: Turn) -> StepOutput:
        images, masks = draw(crops, recipe.fit.batch_size, turn)
        images, masks = dihedral(images, masks, turn.generator)
        if float(torch.rand((), generator=turn.generator)) < recipe.photometric:
            images = photometric(images, turn.generator)
        return StepOutput(loss_of(images, masks), {})

    return step


def objective(recipe: LocalizerRecipe, model: nn.Module) -> tuple[nn.Module, Loss]:
    """Return the module to train, and the loss of images and masks, both `(B, C, H, W)` in [0, 1].

    Raises:
        AnsmError: there are hints without a teacher, or the teacher cannot teach this localizer.
    """
    if recipe.hints and not recipe.teacher:
        raise ConfigError("hints were given without a teacher; name the localizer that teaches.")

    def against(logits: Tensor, masks: Tensor) -> Tensor:
        return mask_loss(logits, masks, bce_weight=recipe.bce_weight)

    if not recipe.teacher:
        forward = mask_forward(model, describe(model), precision=recipe.fit.precision)
        return model, lambda images, masks: against(forward(images), masks)
    with seeded(recipe.fit.seed):
        lesson = Lesson(model, recipe.teacher, recipe.hints, recipe.fit.precision)

    def taught_loss(images: Tensor, masks: Tensor) -> Tensor:
        logits, taught, hint = lesson.forward(images)
        lessons = against(logits, taught) + hint
        return against(logits, masks) + recipe.teacher_weight * lessons

    return lesson, taught_loss


def load_start(model: nn.Module, path: Path) -> None:
    """Load weights of a whole localizer, or of its encoder where the names are those.

    Raises:
        WeightsError: the file cannot be read or fits neither.
    """
    encoder = getattr(model, "encoder", None)
    if isinstance(encoder, nn.Module) and tensor_names(path) == encoder.state_dict().keys():
        load_localizer_weights(encoder, path)
    else:
        load_localizer_weights(model, path)


def make_residual(model: nn.Module, gain: float) -> None:
    """Let every kernel of the first convolution start with sum zero, times `gain`.

    The traces of a forgery are a few grey levels beside content of a hundred; filters without a
    constant part see the traces first. The idea is that of the constrained convolution of Bayar
    and Stamm (IH&MMSec 2016), here as a start only: training may leave it.

    Raises:
        LocalizerError: the model has no convolution on three channels.
    """
    stem = next(
        (m for m in model.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3), None
    )
    if stem is None:
        raise LocalizerError(
            "residual_stem needs a localizer with a convolution on three channels; this one has "
            "none. Leave residual_stem at 0."
        )
    with torch.no_grad():
        stem.weight.sub_(stem.weight.mean((2, 3), keepdim=True)).mul_(gain)


def draw(crops: Forgeries, count: int, turn: Turn) -> tuple[Tensor, Tensor]:
    """Draw `count` crops; return this process's share as float images and masks in [0, 1]."""
    index = turn.share.of(torch.randint(len(crops), (count,), generator=turn.generator))
    index = sent(index, crops.images.device)
    return crops.images[index].float().div(255), crops.masks[index].float()
