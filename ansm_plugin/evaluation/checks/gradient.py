"""Tests of the gradient itself: an attack that is misled by it measures nothing.

A defence with a gradient that points nowhere looks robust (obfuscated gradients, Athalye et al.,
ICML 2018). Here the change that the gradient predicts is held against the change that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks.objectives import Objective, bce, margin
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.results import T1, T2, T4, T5
from ansm_plugin.localizer.call import Forward, Perturb
from ansm_plugin.localizer.spec import Activation

Value = Callable[[Tensor], Tensor]
_ON_BARE = (T1, T2, T5)  # whose noise is made against the bare localizer
_DIRECTIONS = 24
_FEW_DIRECTIONS = 8  # for a localizer, which has no reason to mislead: a third of the time
_STEP = 0.05 / 255  # small enough for a straight line, large enough for fp32
_AGREEMENT = 0.8  # correlation of predicted and found changes
_ZERO_SHARE = 0.5
_CLAMPED = (
    13.8  # the largest logit that a probability is given, a little less than that of 1 - 1e-6
)
_CLAMPED_SHARE = 0.1  # of the pixels: F1 is about as much too high


def probe_bare(
    forward: Forward, activation: Activation, sample: Sample, config: EvaluationConfig
) -> tuple[str, ...]:
    """Return reasons to distrust attacks on the bare localizer, in plain words.

    Args:
        forward: pixels -> mask logits of the bare localizer.
        activation: what it returns, as its spec has it.
        sample: a few forged images.
        config: without T1, T2 and T5, whose noise is made against it, nothing is probed.
    """
    figures = ", ".join(threat for threat in _ON_BARE if threat in config.threats)
    if not figures:
        return ()
    generator = attack_generator(config.seed, "probe bare", 0, 0)
    images, masks = sample.images, sample.masks
    if _differs_between_calls(forward, images):
        return (
            f"the localizer answers the same image differently each time: its {figures} figure is "
            "no lower bound. Switch off what it draws in eval mode.",
        )
    if activation != "logits" and (clamped := _clamped_share(forward, images)) > _CLAMPED_SHARE:
        return (
            f"{clamped:.0%} of the localizer's probabilities are nearer to 0 or 1 than 1e-6, where "
            f"no gradient comes back: its {figures} figure is too high. Attack its logits: let it "
            'return them, and pass spec=LocalizerSpec(activation="logits").',
        )
    if (flat := _flat_share(forward, images, masks)) is not None:
        return (
            f"cross-entropy is flat at the localizer's large logits: {flat:.0%} of its gradient is "
            f"zero, and the {figures} figure of attacks that climb it is too high. Attack with "
            "margin, which is not.",
        )
    loss = _loss(bce, forward, masks)
    view = _View("the localizer", loss, figures, "a saturated output, a rounding or a clamp")
    return tuple(_doubts(view, images, generator, _FEW_DIRECTIONS))


def gradient_passes(config: EvaluationConfig) -> tuple[int, int]:
    """Return about how many passes `probe_bare` and `probe` take, for who shows how far they are.

    Twice for each direction, and a few for everything else.
    """
    is_bare = any(threat in config.threats for threat in _ON_BARE)
    is_white = T4 in config.threats and config.white_box_steps > 0
    return (2 * _FEW_DIRECTIONS + 6) * is_bare, (2 * _DIRECTIONS + 3) * is_white


def _flat_share(forward: Forward, images: Tensor, masks: Tensor) -> float | None:
    """Return the zero share of the gradient of cross-entropy; None where all is well, or no better.

    Better is the gradient of margin, which no logit is too large for.
    """
    shares = []
    for objective in (bce, margin):
        gradient = _gradient(_loss(objective, forward, masks), images)
        if gradient is None:
            return None
        shares.append(_zero_share(gradient))
        if shares[0] <= _ZERO_SHARE:
            return None
    return shares[0] if shares[1] <= _ZERO_SHARE else None


def _loss(objective: Objective, forward: Forward, masks: Tensor) -> Value:
    return lambda pixels: objective(forward(pixels).float(), masks, 0.0)


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
    views = [_View("the defended localizer", _loss(bce, forward, masks))]
    if bool(added.any()):  # an untrained module adds nothing, and nothing is to be predicted
        weights = torch.randint(0, 2, added.shape, generator=generator).to(added) * 2 - 1
        views.append(_View("the module", lambda x: (weights * perturbation(x)).sum((1, 2, 3))))
    return tuple(doubt for view in views for doubt in _doubts(view, images, generator))


class _View(NamedTuple):
    """What is looked through: its name, a value behind it, whose figure it decides, what is usual.

    `usual` says what mostly makes a gradient zero there.
    """

    name: str
    value: Value
    figures: str = T4
    usual: str = "a rounding, a clamp or a saturated tanh"


def _doubts(
    view: _View, images: Tensor, generator: torch.Generator, directions: int = _DIRECTIONS
) -> Iterator[str]:
    gradient = _gradient(view.value, images)
    if gradient is None or not bool(gradient.isfinite().all()):
        yield (
            f"no finite gradient comes back through {view.name}: its {view.figures} figure "
            "measures nothing."
        )
        return
    zero = _zero_share(gradient)
    if zero > _ZERO_SHARE:
        yield (
            f"{zero:.0%} of the gradient through {view.name} is zero ({view.usual}): its "
            f"{view.figures} figure is no lower bound."
        )
        return
    agreement = gradient_agreement(view.value, images, gradient, generator, directions)
    if agreement < _AGREEMENT:
        yield (
            f"the gradient through {view.name} does not tell how its output changes (correlation "
            f"{agreement:.2f} with finite differences, at least {_AGREEMENT} expected): something "
            f"is detached, rounded or random, and its {view.figures} figure is no lower bound."
        )


def gradient_agreement(
    value: Value,
    images: Tensor,
    gradient: Tensor,
    generator: torch.Generator,
    directions: int = _DIRECTIONS,
) -> float:
    """Return the correlation of changes of a value with those that a gradient predicts.

    Over random sign directions of a twentieth of a grey level, as central differences. 1 is a
    gradient to trust; 0 where it predicts nothing at all.

    Args:
        value: images `(B, 3, H, W)` -> one number each, `(B,)`.
        images: where the gradient was taken.
        gradient: `(B, 3, H, W)`.
        generator: decides the directions.
        directions: how many.
    """
    predicted, found = [], []
    for _ in range(directions):
        draw = torch.randint(0, 2, images.shape, generator=generator).to(images)
        step = _STEP * (2 * draw - 1)
        predicted.append((gradient * step).sum((1, 2, 3)))
        with torch.no_grad():
            found.append((value(images + step) - value(images - step)) / 2)
    table = torch.stack([torch.stack(predicted).flatten(), torch.stack(found).flatten()])
    table = table.cpu().double()
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


def _zero_share(gradient: Tensor) -> float:
    return float((gradient == 0).float().mean())


def _clamped_share(forward: Forward, images: Tensor) -> float:
    """Return the share of the pixels whose probability is cut off before its logit is taken."""
    with torch.no_grad():
        return float((forward(images).abs() >= _CLAMPED).float().mean())


def _differs_between_calls(forward: Forward, images: Tensor) -> bool:
    with torch.no_grad():
        return not torch.equal(forward(images), forward(images))
