"""Tests of the gradient itself: an attack that is misled by it measures nothing.

A defence with a gradient that points nowhere looks robust (obfuscated gradients, Athalye et al.,
ICML 2018). Here the change that the gradient predicts is held against the change that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ansm_plugin.attacks.objectives import bce
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import T4
from ansm_plugin.localizer.call import Forward, Perturb

Value = Callable[[Tensor], Tensor]
_DIRECTIONS = 24
_STEP = 0.05 / 255  # small enough for a straight line, large enough for fp32
_AGREEMENT = 0.8  # correlation of predicted and found changes
_ZERO_SHARE = 0.5


def probe(
    forward: Forward, perturbation: Perturb, sample: Sample, config: EvaluationConfig
) -> tuple[str, ...]:
    """Return reasons to distrust attacks through a module, in plain words.

    Args:
        forward: pixels -> mask logits, through the module.
        perturbation: pixels -> what the module adds to them.
        sample: a few forged images.
        config: its white-box attack is what is in doubt; without T4 nothing is probed.
    """
    if T4 not in config.threats or not config.white_box_steps:
        return ()
    generator = attack_generator(config.seed, "probe", 0, 0)
    images, masks = sample.images, sample.masks
    if _differs_between_calls(forward, images):
        # Every other test compares answers, so it would say the same once more.
        return (
            "the defended localizer answers the same image differently each time: gradients of one "
            "answer mislead. Attack it with EOT (several draws a step), or its T4 figure is no "
            "lower bound.",
        )
    with torch.no_grad():
        added = perturbation(images)
    views: dict[str, Value] = {
        "the defended localizer": lambda x: bce(forward(x).float(), masks, 0.0)
    }
    if bool(added.any()):  # an untrained module adds nothing, and nothing is to be predicted
        weights = torch.randint(0, 2, added.shape, generator=generator).to(added) * 2 - 1
        views["the module"] = lambda x: (weights * perturbation(x)).sum((1, 2, 3))
    return tuple(
        doubt for name, value in views.items() for doubt in _doubts(name, value, images, generator)
    )


def _doubts(name: str, value: Value, images: Tensor, generator: torch.Generator) -> Iterator[str]:
    gradient = _gradient(value, images)
    if gradient is None or not bool(gradient.isfinite().all()):
        yield f"no finite gradient comes back through {name}: its T4 figure measures nothing."
        return
    zero = float((gradient == 0).float().mean())
    if zero > _ZERO_SHARE:
        yield (
            f"{zero:.0%} of the gradient through {name} is zero (a rounding, a clamp or a "
            "saturated tanh): its T4 figure is no lower bound."
        )
        return
    agreement = gradient_agreement(value, images, gradient, generator)
    if agreement < _AGREEMENT:
        yield (
            f"the gradient through {name} does not tell how its output changes (correlation "
            f"{agreement:.2f} with finite differences, at least {_AGREEMENT} expected): something "
            "is detached, rounded or random, and its T4 figure is no lower bound."
        )


def gradient_agreement(
    value: Value, images: Tensor, gradient: Tensor, generator: torch.Generator
) -> float:
    """Return the correlation of changes of a value with those that a gradient predicts.

    Over random sign directions of a twentieth of a grey level, as central differences. 1 is a
    gradient to trust; 0 where it predicts nothing at all.

    Args:
        value: images `(B, 3, H, W)` -> one number each, `(B,)`.
        images: where the gradient was taken.
        gradient: `(B, 3, H, W)`.
        generator: decides the directions.
    """
    predicted, found = [], []
    for _ in range(_DIRECTIONS):
        draw = torch.randint(0, 2, images.shape, generator=generator).to(images)
        step = _STEP * (2 * draw - 1)
        predicted.append((gradient * step).sum((1, 2, 3)))
        with torch.no_grad():
            found.append((value(images + step) - value(images - step)) / 2)
    table = torch.stack([torch.stack(predicted).flatten(), torch.stack(found).flatten()]).double()
    correlation = float(torch.corrcoef(table)[0, 1])
    return 0.0 if correlation != correlation else correlation


def _gradient(value: Value, images: Tensor) -> Tensor | None:
    """Return the gradient; None where the value does not depend on the images."""
    with torch.enable_grad():
        leaf = images.detach().clone().requires_grad_(True)
        total = value(leaf).sum()
        if not total.requires_grad:
            return None
        (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    return gradient


def _differs_between_calls(forward: Forward, images: Tensor) -> bool:
    with torch.no_grad():
        return not torch.equal(forward(images), forward(images))
