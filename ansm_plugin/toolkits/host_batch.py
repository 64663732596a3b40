"""A host's batch: a dict with a normalised image and a mask, seen and attacked in pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import AttackSpec, run_attack
from ansm_plugin.localizer.call import Forward
from ansm_plugin.localizer.gradient import Way, require_gradient
from ansm_plugin.localizer.spec import LocalizerSpec


def host_forward(model: nn.Module, batch: Mapping[str, Any], spec: LocalizerSpec) -> Forward:
    """Return pixels `(B, 3, H, W)` in [0, 1] -> logits of the host's `pred_mask`.

    The host calls a pixel forged where `pred_mask` is above 0.5. Within [0, 1] it is taken for a
    probability; else, as in IMDLBenCo's template `MyModel`, for a score with that threshold.
    """

    def forward(pixels: Tensor) -> Tensor:
        inputs = outside_as_before(spec.normalise(pixels), batch)
        mask: Tensor = model(**{**batch, "image": inputs})["pred_mask"].float()
        low, high = mask.detach().aminmax()
        is_probability = bool(low >= 0) and bool(high <= 1)
        return torch.logit(mask, eps=1e-6) if is_probability else mask - 0.5

    return forward


def require_host_gradient(model: nn.Module, batch: Mapping[str, Any], spec: LocalizerSpec) -> None:
    """Warn of a host's model that lets a part of the gradient through, refuse one that lets none.

    Asked with the other inputs of a batch's first image, as the host gives them.

    Args:
        model: what is to be attacked, bare; nothing of it changes.
        batch: the host's inputs.
        spec: how the host normalises images.

    Raises:
        LocalizerError: no gradient comes back.
    """
    height, width = batch["image"].shape[-2:]
    forward = host_forward(model, {key: _first(value) for key, value in batch.items()}, spec)

    def logits(pixels: Tensor) -> Tensor:
        return forward(pixels).view(1, 1, height, width)  # what else comes out, the attack refuses

    require_gradient(model, spec, Way(logits, height, width))


def _first(values: Any) -> Any:
    """Return what a batch holds of its first image."""
    is_whole = isinstance(values, Tensor) and values.ndim == 0
    return values[:1] if isinstance(values, Tensor | list | tuple) and not is_whole else values


def attack_batch(
    model: nn.Module,
    batch: Mapping[str, Any],
    spec: LocalizerSpec,
    eps_255: float,
    attack: AttackSpec,
    *,
    generator: torch.Generator | None = None,
) -> dict[str, Any]:
    """Return a host's batch with its image attacked through `model`, padding left as it is.

    Args:
        model: a host's model, bare or defended, in eval mode.
        batch: the host's inputs: `image` `(B, 3, H, W)`, normalised, `mask` `(B, 1, H, W)` in
            {0, 1}, and perhaps `shape_mask`.
        spec: how the host normalises images.
        eps_255: radius in grey levels.
        attack: the attack.
        generator: source of its randomness; the global one by default.

    Raises:
        LocalizerError: no gradient reaches the image.
        ConfigError: the radius is out of range.
    """
    pixels = spec.denormalise(batch["image"]).float().clamp(0, 1)
    forward = host_forward(model, batch, spec)
    masks = (batch["mask"] > 0.5).float()  # as hosts score it
    attacked = run_attack(forward, pixels, masks, eps_255 / 255, attack, generator=generator)
    image = spec.normalise(attacked).to(batch["image"].dtype)
    return {**batch, "image": outside_as_before(image, batch)}


def outside_as_before(image: Tensor, batch: Mapping[str, Any]) -> Tensor:
    """Return `image` with the padding of the batch's own, where the host's `shape_mask` is 0."""
    inside = batch.get("shape_mask")
    return image if inside is None else torch.where(inside.bool(), image, batch["image"])
