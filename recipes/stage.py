"""What stages 1 to 3 share: the frozen localizer, its attacked crops, and the suppressed image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.ansm import ANSM, add, saturated_share
from ansm_plugin.attacks.captured import attack_forward
from ansm_plugin.backbones.reference import SMALL_LOCALIZER, build_localizer
from ansm_plugin.data.crops import DataConfig
from ansm_plugin.data.forgeries import Forgeries, ForgeryConfig
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import TrainingError
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.folding import folded
from ansm_plugin.localizer.gradient import require_gradient
from ansm_plugin.localizer.modes import device_of, frozen_eval
from ansm_plugin.localizer.quick import quick_forward
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.tapped import require_taps
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes.said import SaidOfLocalizer
from ansm_plugin.system.processes import processes
from ansm_plugin.system.progress import Progress, silent
from ansm_plugin.training.cache import AttackMixture, attacked_crops
from ansm_plugin.training.device import training_device
from ansm_plugin.training.kept import kept_crops
from ansm_plugin.training.sending import sent
from ansm_plugin.training.step import WHOLE, Logs, Share, Step, StepOutput, Turn
from ansm_plugin.weights.ansm_file import Provenance, identify

_LOOKS = 100  # steps between two looks at whether the module is dead
_ALIVE = 0.01  # share of pixels that differ from the rest; of a module that learns nearly all do


@dataclass(frozen=True, kw_only=True)
class Stage(SaidOfLocalizer):
    """Choices that every training stage of an ANSM makes, with what is said of the localizer.

    Attributes:
        localizer: its name, with `@weights.safetensors` unless it is a name of `ansm models`.
        also: names of further localizers that the same ANSM is to serve; each step is for one.
        data: the forged crops; another seed than the localizer's training had. A fifth of them is
            authentic, so that every batch has some, attacked and not: a module that never saw one
            frames them. Pairs with `masks` bring their own authentic images, with empty masks.
        attacks: what the crops are attacked with, and which masks these attacks are told.
        saturation_penalty: weight of `mean(relu(|raw| - 1.5)^2)`, which keeps tanh unsaturated.
        saturation_limit: training stops when a larger share of the perturbation is saturated.
    """

    localizer: str = SMALL_LOCALIZER
    also: tuple[str, ...] = ()
    data: DataConfig = field(
        default_factory=lambda: DataConfig(
            count=12288, seed=1, forgeries=ForgeryConfig(authentic=0.2)
        )
    )
    attacks: AttackMixture = field(default_factory=AttackMixture)
    saturation_penalty: float = 10.0
    saturation_limit: float = 0.5

    def needed_taps(self, defended: DefendedLocalizer[nn.Module]) -> tuple[str, ...]:
        """Return the taps of a localizer that the stage needs; a stage that needs some overrides.

        Raises:
            ConfigError: it needs taps, and neither its choices nor the localizer's spec name any.
        """
        return ()


class Pairs(NamedTuple):
    """Originals `(N, 3, S, S)`, their masks `(N, 1, S, S)`, attacked versions; all uint8."""

    originals: Tensor
    masks: Tensor
    attacked: Tensor

    def draw(
        self, count: int, generator: torch.Generator, share: Share = WHOLE
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw `count` rows; return a share of them as floats: originals, masks, attacked."""
        return self.rows(share.of(self.pick(count, generator)))

    def pick(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw the numbers of `count` rows."""
        return torch.randint(len(self.masks), (count,), generator=generator)

    def rows(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rows as floats: originals, masks, attacked."""
        index = sent(index, self.masks.device)
        originals, attacked = (t[index].float().div(255) for t in (self.originals, self.attacked))
        return originals, self.masks[index].float(), attacked


class Suppressed(NamedTuple):
    """Images after the ANSM, `(B, 3, H, W)` in [0, 1], with what training watches."""

    images: Tensor
    penalty: Tensor
    saturated: Tensor


def prepare(stage: Stage, ansm: ANSM, output: Path, progress: Progress = silent) -> Setup:
    """Build the defended localizers and the attacked crops of a training stage.

    The crops lie in `output/attacked`, those of further localizers in `output/attacked-2` and on.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    crops = kept_crops(stage.data, output, progress).to(training_device())
    others = tuple(
        _prepare(stage, name, crops, ansm, output / f"attacked-{number}", progress)
        for number, name in enumerate(stage.also, start=2)
    )
    first = _prepare(stage, stage.localizer, crops, ansm, output / "attacked", progress)
    return replace(first, others=others)


def _prepare(
    stage: Stage, name: str, crops: Forgeries, ansm: ANSM, folder: Path, progress: Progress
) -> Setup:
    localizer = build_localizer(name)
    if name == stage.localizer:
        stage.facts.state(localizer)
    defended = wrap_with_ansm(localizer, ansm=ansm)
    defended.to(training_device(), memory_format=torch.channels_last)  # type: ignore[call-overload]
    said = {"said": facts} if (facts := stage.facts.given()) else {}
    # Before thousands of crops are attacked.
    require_taps(localizer, defended.spec, stage.needed_taps(defended))
    require_gradient(localizer, defended.spec)
    attacked = attacked_crops(
        attack_forward(
            folded(localizer, defended.spec), defended.spec, precision=stage.attacks.precision
        ),
        crops,
        stage.attacks,
        seed=stage.data.seed,
        folder=folder,
        identity={"localizer": fingerprint(localizer), "data": asdict(stage.data), **said},
        progress=progress,
        among=processes(),
    )
    pairs = Pairs(crops.images, crops.masks, attacked.images)
    return Setup(defended, pairs, stage, codes=attacked.codes)


@dataclass(frozen=True)
class Setup:
    """What a training stage works on.

    Attributes:
        defended: the localizer behind the ANSM in training.
        pairs: its training pairs.
        stage: the choices.
        others: the setups of further localizers behind the same ANSM.
        codes: which masks the attacks of the pairs were told, `(N,)` as in `Told`; None: the truth.
    """

    defended: DefendedLocalizer[nn.Module]
    pairs: Pairs
    stage: Stage
    others: tuple[Setup, ...] = ()
    codes: Tensor | None = None

    def each(self, make: Callable[[Setup], Step]) -> Step:
        """Return a step that is made for one localizer, drawn at random where there are several."""
        steps = [make(setup) for setup in (self, *self.others)]
        if len(steps) == 1:
            return steps[0]

        def step(turn: Turn) -> StepOutput:
            chosen = int(torch.randint(len(steps), (), generator=turn.generator))
            return steps[chosen](turn)

        return step

    def identify(self) -> dict[str, str]:
        """Return family, class and sha256 of the localizer, with the sha256 of the others."""
        found = identify(self.defended.localizer, self.spec)
        also = " ".join(fingerprint(other.defended.localizer) for other in self.others)
        return {**found, "also": also} if also else found

    @property
    def spec(self) -> LocalizerSpec:
        """How to talk to the localizer."""
        return self.defended.spec

    @property
    def ansm(self) -> ANSM:
        """The module in training."""
        if not isinstance(self.defended.ansm, ANSM):
            raise TrainingError("recipes train an ANSM; a module of your own needs its own loop.")
        return self.defended.ansm

    def forward(self, precision: str) -> Forward:
        """Return pixels -> mask logits of the bare localizer."""
        return mask_forward(self.defended.localizer, self.spec, precision=precision)

    def quick_forward(self, precision: str) -> Forward:
        """Return the same up to rounding, in less time; nothing inside it can be tapped."""
        return quick_forward(self.defended.localizer, self.spec, precision=precision)

    def provenance(
        self, stage: str, recipe: dict[str, Any], metrics: dict[str, float], parent: str
    ) -> Provenance:
        """Return where an ANSM that was trained here comes from."""
        return Provenance(
            stage=stage,
            localizer=self.identify(),
            normalisation=self.spec.input_range,
            recipe=recipe,
            metrics=metrics,
            parent=parent,
        )

    def suppress(self, images: Tensor) -> Suppressed:
        """Add the defensive perturbation to pixels."""
        raw = self.ansm.raw(images)
        # softshrink(r, s) is r cut by s towards 0: relu(|r| - s)^2 in one pass each way.
        penalty = functional.softshrink(raw, 1.5).square().mean()
        suppressed = add(images, self.ansm.bounded(raw))
        return Suppressed(suppressed, self.stage.saturation_penalty * penalty, saturated_share(raw))

    def requirement(self, index: int) -> Callable[[Logs], None]:
        """Return what the numbers of a step must fulfil; every hundredth looks for death, too.

        That takes a pass, and on a GPU the host would wait for it in every step.
        """
        return self.require_learning if (index + 1) % _LOOKS == 0 else self.require_unsaturated

    def require_learning(self, logs: Logs) -> None:
        """Raise TrainingError where no gradient is left: too much is saturated, or all is dead.

        Args:
            logs: of a step, with the share `saturated`.
        """
        self.require_unsaturated(logs)
        if is_dead(self.ansm):
            raise TrainingError(
                "the ANSM adds the same to every pixel of every image: the ReLUs of its last "
                "features are dead, and no gradient is left to learn from. Begin again with a "
                "lower learning_rate or a longer warmup."
            )

    def require_unsaturated(self, logs: Logs) -> None:
        """Raise TrainingError where the share `saturated` of a step is above the stage's limit."""
        if logs["saturated"] > self.stage.saturation_limit:
            raise TrainingError(
                f"{logs['saturated']:.0%} of the perturbation is saturated (limit "
                f"{self.stage.saturation_limit:.0%}): no gradient is left to learn from. Lower "
                "learning_rate or raise saturation_penalty."
            )


def is_dead(ansm: ANSM) -> bool:
    """Return whether a module that was trained gives one constant, whatever the image.

    A network without normalisation that learns too fast ends so, and nothing else shows it: its
    losses stay those of the bare localizer. A pixel in a thousand may be left alive.
    """
    device = device_of(ansm)
    images = torch.rand((2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).to(device)
    if device.type == "meta" or ansm.is_identity:
        return False
    with torch.no_grad(), frozen_eval(ansm):
        raw = ansm.raw(images)
    constant = raw.flatten(2).median(-1).values[..., None, None]
    return float((raw != constant).float().mean()) < _ALIVE
