"""Objectives an attacker maximises on a dense binary localizer.

Each takes logits and masks of shape `(B, 1, H, W)` and the elapsed share of the attack's steps in
[0, 1], and returns one value per image, `(B,)`: a sum over pixels, so that gradients never
underflow.

Some weigh a pixel by the prediction and so fall when the attack succeeds: their gradient is what
counts. `success` and `f1` compare points of the ball under any objective.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.attacks.foreign import foreign_objective
from ansm_plugin.errors import ConfigError, unknown_name

Objective = Callable[[Tensor, Tensor, float], Tensor]


def bce(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Binary cross-entropy against the true mask: the plain untargeted objective."""
    return _bce_map(logits, masks).sum((1, 2, 3))


def balanced(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Cross-entropy in which forged and authentic pixels of an image weigh the same in total.

    Keeps a small forgery from being outvoted (Croce et al., ECCV 2024). The weights sum to the
    number of pixels; an image with one kind of pixel only gets plain cross-entropy.
    """
    pixels = masks.shape[1:].numel()
    forged = masks.sum((1, 2, 3), keepdim=True)
    both = (forged > 0) & (forged < pixels)
    share = torch.where(masks > 0, forged, pixels - forged).clamp_min(1)
    weight = torch.where(both, pixels / (2 * share), torch.ones_like(share))
    return (weight * _bce_map(logits, masks)).sum((1, 2, 3))


def segpgd(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Cross-entropy that turns from the pixels still right to all pixels alike.

    SegPGD (Gu et al., ECCV 2022): weight 1 - elapsed / 2 where the prediction is right,
    elapsed / 2 where it is wrong.
    """
    weight = torch.where(_is_right(logits, masks), 1 - elapsed / 2, elapsed / 2)
    return (weight * _bce_map(logits, masks)).sum((1, 2, 3))


def cospgd(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Cross-entropy weighted by the agreement of prediction and mask per pixel.

    CosPGD (Agnihotri et al., ICML 2024): cosine of the predicted class distribution and the
    one-hot mask; pixels already wrong get little weight.
    """
    foreground = torch.sigmoid(logits)
    predicted = torch.cat([1 - foreground, foreground], dim=1)
    wanted = torch.cat([1 - masks, masks], dim=1)
    weight = functional.cosine_similarity(predicted, wanted, dim=1).unsqueeze(1).detach()
    return (weight * _bce_map(logits, masks)).sum((1, 2, 3))


def masked_ce(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Cross-entropy of the pixels still predicted right (Croce et al., ECCV 2024)."""
    return (_is_right(logits, masks) * _bce_map(logits, masks)).sum((1, 2, 3))


def js(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Jensen-Shannon divergence of predicted distribution and one-hot mask, in nats.

    Bounded by log 2 per pixel, so that its gradient fades where a pixel is wrong already (Croce et
    al., ECCV 2024). With p the probability of the true class:
    `log 2 + p/2 log p - (1 + p)/2 log(1 + p)`.
    """
    log_p = functional.logsigmoid(logits * (2 * masks - 1))
    p = log_p.exp()
    value = _LOG_2 + 0.5 * p * log_p - 0.5 * (1 + p) * torch.log1p(p)
    return value.sum((1, 2, 3))


def margin(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Signed distance to the decision, clipped once a pixel is clearly wrong.

    Carlini and Wagner (2017) with confidence 1 on dense labels: minus the logit margin.
    """
    signed = logits * (2 * masks - 1)
    return (-signed).clamp_max(1.0).sum((1, 2, 3))


def dice(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """One minus the soft F1, times the number of pixels: what a report measures, made smooth."""
    probability = torch.sigmoid(logits)
    overlap = (probability * masks).sum((1, 2, 3))
    total = probability.sum((1, 2, 3)) + masks.sum((1, 2, 3))
    # +1: an empty mask has a defined, smooth value.
    return (1 - (2 * overlap + 1) / (total + 1)) * masks.shape[1:].numel()


def hide(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """Minus the cross-entropy against the empty mask: what a forger wants."""
    return -_bce_map(logits, torch.zeros_like(masks)).sum((1, 2, 3))


def output(logits: Tensor, masks: Tensor, elapsed: float) -> Tensor:
    """What `forward` returns, summed: for a forward that holds its own objective (`features`)."""
    return logits.sum((1, 2, 3))


OBJECTIVES: dict[str, Objective] = {
    "bce": bce,
    "balanced": balanced,
    "segpgd": segpgd,
    "cospgd": cospgd,
    "mce": masked_ce,
    "js": js,
    "margin": margin,
    "dice": dice,
    "hide": hide,
    "output": output,
}

MASKLESS = frozenset({"hide", "output"})  # those that no mask is told

_LOG_2 = 0.6931471805599453
_TOWARDS = "towards "
# Weighted by the prediction: their value falls as pixels turn wrong.
_NOT_COMPARABLE = frozenset({"segpgd", "cospgd", "mce"})


def objective(name: str) -> Objective:
    """Return an objective by name: ours, `module:function` (`foreign`), or one of `towards`.

    Raises:
        ConfigError: an unknown name (the nearest ones are offered), or no function.
    """
    base = name.removeprefix(_TOWARDS)
    is_known = base in OBJECTIVES or ":" in base
    if not is_known or (base != name and base in MASKLESS):
        raise ConfigError(unknown_name("objective", name, [*OBJECTIVES, "module:function"]))
    away = OBJECTIVES[base] if base in OBJECTIVES else foreign_objective(base)
    if base == name:
        return away
    return lambda logits, masks, elapsed: away(logits, 1 - masks, elapsed)


def towards(name: str) -> str:
    """Return the name of the objective that goes towards the masks which `name` goes away from.

    It is `name`, told the complement of the masks: away from that is towards them. What it is
    after (`success`) is their F1, which F1 against the complement does not tell: that is as low
    where nothing at all is marked.

    Raises:
        ConfigError: an unknown objective, or one of `MASKLESS`.
    """
    if name in MASKLESS:
        raise ConfigError(f"the objective {name!r} is told no mask, so it leads towards none.")
    objective(name)
    return f"{_TOWARDS}{name}"


def value(name: str, logits: Tensor, masks: Tensor) -> Tensor:
    """Return what tells the better of two points under an objective, `(B,)`; higher is better.

    The objective itself, except where its weights follow the prediction: there Jensen-Shannon.
    """
    base = name.removeprefix(_TOWARDS)
    prefix = name.removesuffix(base)
    return objective(f"{prefix}{'js' if base in _NOT_COMPARABLE else base}")(logits, masks, 1.0)


def success(name: str, logits: Tensor, masks: Tensor) -> Tensor:
    """Return what the attacker is after, `(B,)`; higher is better.

    Minus F1; minus the share of pixels found forged for `hide`, and for an authentic image, whose
    F1 is 0 whatever happens, that share itself; F1 for one of `towards`; the value for `output`.
    """
    if name.startswith(_TOWARDS):
        return f1(logits, masks)
    if name == "output":
        return output(logits, masks, 1.0)
    share = (logits > 0).float().mean((1, 2, 3))
    if name == "hide":
        return -share
    return torch.where(masks.flatten(1).any(1), -f1(logits, masks), share)


def f1(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the pixel F1 of each image at logit 0, `(B,)`; 0 where it is not defined."""
    predicted = (logits > 0).to(masks.dtype)
    hit = (predicted * masks).sum((1, 2, 3))
    return 2 * hit / (predicted.sum((1, 2, 3)) + masks.sum((1, 2, 3))).clamp_min(1)


def _bce_map(logits: Tensor, masks: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, masks, reduction="none")


def _is_right(logits: Tensor, masks: Tensor) -> Tensor:
    return (logits > 0) == (masks > 0)
