"""What FFA and MgR share: the frozen localizer, its attacked crops, and the suppressed image."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, saturated_share
from ansm_plugin.attacked import AttackMixture, attacked_crops
from ansm_plugin.attacks import Forward
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer
from ansm_plugin.data import DataConfig, load_crops
from ansm_plugin.defended import DefendedLocalizer, wrap_with_ansm
from ansm_plugin.errors import TrainingError
from ansm_plugin.localizer import LocalizerSpec, fingerprint, mask_forward
from ansm_plugin.processes import processes
from ansm_plugin.training import (
    FitConfig,
    Report,
    Shard,
    Step,
    discard_checkpoint,
    fit,
    silent,
    training_device,
)
from ansm_plugin.weights import Provenance, identify, read_ansm_metadata, save_ansm


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Choices that both stages make.

    Attributes:
        localizer: its name, with `@weights.safetensors` unless it is a reference localizer.
        data: the forged crops; another seed than the localizer's training had.
        attacks: what the crops are attacked with.
        saturation_penalty: weight of `mean(relu(|raw| - 1.5)^2)`, which keeps tanh unsaturated.
        saturation_limit: training stops when a larger share of the perturbation is saturated.
    """

    localizer: str = DEFAULT_LOCALIZER
    data: DataConfig = field(default_factory=lambda: DataConfig(count=12288, seed=1))
    attacks: AttackMixture = field(default_factory=AttackMixture)
    saturation_penalty: float = 10.0
    saturation_limit: float = 0.5


class Pairs(NamedTuple):
    """Originals `(N, 3, S, S)`, their masks `(N, 1, S, S)`, attacked versions; all uint8."""

    originals: Tensor
    masks: Tensor
    attacked: Tensor

    def draw(
        self, count: int, generator: torch.Generator, shard: Shard
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Draw rows; return this process's share as floats: originals, masks, attacked."""
        index = shard.of(torch.randint(len(self.masks), (count,), generator=generator))
        originals, attacked = (t[index].float().div(255) for t in (self.originals, self.attacked))
        return originals, self.masks[index].float(), attacked


class Suppressed(NamedTuple):
    """Images after the ANSM, `(B, 3, H, W)` in [0, 1], with what training watches."""

    images: Tensor
    penalty: Tensor
    saturated: float


def prepare(stage: Stage, ansm: ANSM, output: Path, report: Report = silent) -> Workplace:
    """Build the defended localizer and the attacked crops of a stage.

    Raises:
        AnsmError: a name, a file or a folder cannot be used.
    """
    device = training_device()
    localizer = build_localizer(stage.localizer)
    defended = wrap_with_ansm(localizer, ansm=ansm)
    defended.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    crops = load_crops(stage.data).to(device)
    attacked = attacked_crops(
        mask_forward(localizer, defended.spec, precision=stage.attacks.precision),
        crops,
        stage.attacks,
        seed=stage.data.seed,
        folder=output / "attacked",
        identity={"localizer": fingerprint(localizer), "data": asdict(stage.data)},
        report=report,
        among=processes(),
    )
    return Workplace(defended, Pairs(crops.images, crops.masks, attacked), stage)


@dataclass(frozen=True)
class Workplace:
    """The defended localizer, its training pairs and the choices of the stage."""

    defended: DefendedLocalizer[nn.Module]
    pairs: Pairs
    stage: Stage

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

    def suppress(self, images: Tensor) -> Suppressed:
        """Add the defensive perturbation to pixels; stop a run that saturates."""
        raw = self.ansm.raw(images)
        penalty = (raw.abs() - 1.5).clamp_min(0).square().mean()
        saturated = float(saturated_share(raw))
        if saturated > self.stage.saturation_limit:
            raise TrainingError(
                f"{saturated:.0%} of the perturbation is saturated (limit "
                f"{self.stage.saturation_limit:.0%}): no gradient is left to learn from. Lower "
                "learning_rate or raise saturation_penalty."
            )
        suppressed = (images + self.ansm.bounded(raw)).clamp(0, 1)
        return Suppressed(suppressed, self.stage.saturation_penalty * penalty, saturated)


def train_stage(
    name: str,
    place: Workplace,
    step: Step,
    config: FitConfig,
    output: Path,
    *,
    recipe: dict[str, Any],
    parent: str = "",
    report: Report = silent,
) -> Path:
    """Fit the ANSM and write `output/NAME.safetensors` with its provenance."""
    last: dict[str, float] = {}

    def watch(stage: str, done: int, steps: int, logs: dict[str, float]) -> None:
        last.update(logs)
        report(stage, done, steps, logs)

    localizer = identify(place.defended.localizer, place.spec)
    identity = {"recipe": recipe, "localizer": localizer, "parent": parent}
    fit(name, place.ansm, step, config, folder=output, identity=identity, report=watch)
    provenance = Provenance(
        stage=name,
        localizer=localizer,
        normalisation={
            "mean": place.spec.mean,
            "std": place.spec.std,
            "source": place.spec.normalisation,
        },
        recipe=recipe,
        metrics=last,
        parent=parent,
    )

    def keep() -> Path:
        path = save_ansm(place.ansm, output / f"{name}.safetensors", provenance)
        discard_checkpoint(output, name)
        return path

    return processes().once(keep)


def is_finished(path: Path, place: Workplace, recipe: dict[str, Any]) -> bool:
    """Return whether `path` holds the result of exactly this recipe on this localizer."""
    if not path.exists():
        return False
    metadata = read_ansm_metadata(path)
    written = [json.loads(metadata.get(key, "{}")) for key in ("recipe", "localizer")]
    wanted = [recipe, identify(place.defended.localizer, place.spec)]
    return bool(written == json.loads(json.dumps(wanted, default=str)))
