"""Attacks on a host's model, scored by IMDLBenCo's own metrics, which ForensicHub has too.

The attack changes the image as the model gets it, resized or padded, never its padding.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec
from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, T0, T1, T4, T6, Threat
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.toolkits.host_batch import attack_batch, require_host_gradient
from ansm_plugin.toolkits.host_model import DefendedHostModel

Batch = dict[str, Any]
Metrics = dict[str, Tensor]  # name in the host -> one value per image
SpecOf = Callable[[Batch], LocalizerSpec]
SQUARE = "square"  # Square Attack: asks for scores, needs no gradient


@dataclass(frozen=True, kw_only=True)
class HostAttack:
    """One attack on a host's model.

    Attributes:
        threat: T0 no attack, T1 through the bare localizer, T4 through the ANSM as well, T6 by the
            scores of both together.
        attack: name in `ATTACKS`, `SQUARE`, or `NO_ATTACK`.
        eps_255: radius in grey levels.
        steps: gradient steps; of `SQUARE` the questions it asks.
    """

    threat: Threat
    attack: str = NO_ATTACK
    eps_255: float = 0.0
    steps: int = 0


def evaluate_host(
    model: nn.Module,
    batches: Callable[[], Iterator[Batch]],
    plan: Sequence[HostAttack],
    *,
    seed: int,
    spec_of: SpecOf,
) -> list[dict[str, Any]]:
    """Return a row per attack and defence, with the host's metrics as means over all images.

    Args:
        model: a host's model, or one defended by `ANSM_X`; in eval mode.
        batches: gives the host's batches anew with each call.
        plan: the attacks.
        seed: decides random starts.
        spec_of: how the host normalised the images of a batch.

    Raises:
        LocalizerError: no gradient comes back to attack by, or the model fails on a batch.
    """
    is_defended = isinstance(model, DefendedHostModel)
    bare = model.localizer if isinstance(model, DefendedHostModel) else model
    is_attacked = any(attack.attack != NO_ATTACK for attack in plan)
    for first in islice(batches(), int(is_attacked)):  # now, not after the originals were scored
        require_host_gradient(bare, first, spec_of(first))
    rows = []
    for attack in plan:
        through = model if attack.threat == T4 else bare
        judged = {BARE: bare, DEFENDED: model} if is_defended else {BARE: bare}
        if attack.threat == T4:
            judged = {DEFENDED: model}
        metrics: dict[str, list[Metrics]] = {name: [] for name in judged}
        for index, batch in enumerate(batches()):
            attacked = _attacked(through, batch, attack, spec_of, (seed, index))
            for name, judge in judged.items():
                metrics[name].append(_metrics(judge, attacked))
        rows += [_row(attack, name, parts) for name, parts in metrics.items()]
    return rows


def attack_plan(
    attacks: Sequence[str], eps_255: Sequence[float], steps: int, *, is_defended: bool
) -> list[HostAttack]:
    """Return T0, every attack at every radius, and what goes through the ANSM at each radius.

    That is PGD (T4) where there is an attack by gradient, and `SQUARE` again (T6) where it is one.

    Raises:
        ConfigError: an attack is unknown, or a number is out of range.
    """
    if steps < 1:
        raise ConfigError(f"attack_steps is {steps}; allowed: 1 or more.")
    require_radii_255("attack_eps", eps_255)
    threats: list[tuple[Threat, str, int]] = [
        (T1, name, steps if name == SQUARE else attack_spec(name, steps=steps).steps)
        for name in attacks
    ]
    if is_defended:
        threats += [(T4, "pgd", steps)] * any(name != SQUARE for name in attacks)
        threats += [(T6, SQUARE, steps)] * (SQUARE in attacks)
    return [
        HostAttack(threat=T0),
        *(
            HostAttack(threat=threat, attack=name, eps_255=eps, steps=count)
            for threat, name, count in threats
            for eps in eps_255
        ),
    ]


def _attacked(
    model: nn.Module, batch: Batch, attack: HostAttack, spec_of: SpecOf, source: tuple[int, int]
) -> Batch:
    """Return the batch with an attacked image, in the host's normalisation.

    `source` is seed and number of the batch.
    """
    if attack.attack == NO_ATTACK:
        return batch  # the very numbers that the host's test.py sees
    seed, index = source
    generator = attack_generator(seed, attack.attack, attack.eps_255, index)
    spec = attack_spec(attack.attack, steps=attack.steps)
    return attack_batch(model, batch, spec_of(batch), attack.eps_255, spec, generator=generator)


def _metrics(model: nn.Module, batch: Batch) -> Metrics:
    """Return the host's metrics, one value per image."""
    host = importlib.import_module("IMDLBenCo.evaluation")
    predicted = _predicted(model, batch)
    evaluators = {
        "pixel-level F1": host.PixelF1(threshold=0.5, mode="origin"),
        "pixel-level F1 (double)": host.PixelF1(threshold=0.5, mode="double"),
        "pixel-level IOU": host.PixelIOU(threshold=0.5, mode="origin"),
        "pixel-level AUC": host.PixelAUC(threshold=0.5, mode="origin"),
    }
    return {
        name: evaluator.batch_update(predict=predicted, **batch).double().cpu()
        for name, evaluator in evaluators.items()
    }


def _predicted(model: nn.Module, batch: Batch) -> Tensor:
    """Return the host's `pred_mask`, or raise in our words where there is nothing to score."""
    try:
        with torch.no_grad():
            mask: Tensor | None = model(**batch).get("pred_mask")
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise LocalizerError(
            f"{type(model).__name__} fails on a batch of {', '.join(batch)}: {error!r}. Not every "
            "model of a host takes every dataset of it; see that the bare model runs on this one."
        ) from error
    if mask is None or "mask" not in batch:
        lacking = "model gives no pred_mask" if mask is None else "dataset gives no mask"
        raise ConfigError(
            f"this {lacking}: pixels are attacked and scored here, not labels. Take a model that "
            "localizes, outside of Mask2LabelWrapper, and a dataset with masks."
        )
    return mask


def _row(attack: HostAttack, defence: str, parts: Sequence[Metrics]) -> dict[str, Any]:
    values = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    images = len(next(iter(values.values())))
    means = {name: float(value.mean()) for name, value in values.items()}
    return {**vars(attack), "defence": defence, **means, "images": images}
