"""Attacks of four kinds behind one signature, a small localizer, and two images for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.engines import EngineAttack, engine_attack
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.spec import LocalizerSpec

EPS = 8 / 255
SPEC = LocalizerSpec(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), taps=("0",))
Attack = Callable[..., Tensor]


def localizer() -> nn.Sequential:
    """Return a localizer with everything that depends on the mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Conv2d(4, 1, 1)
        ).eval()


def case() -> tuple[Tensor, Tensor]:
    """Return two images and their masks."""
    images = torch.rand(2, 3, 8, 10, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 1, 8, 10)
    masks[..., 2:6, 3:7] = 1
    return images, masks


FORWARD = mask_forward(localizer(), SPEC)


def by_gradient(images: Any, masks: Any, eps: Any = EPS, **options: Any) -> Tensor:
    return run_attack(FORWARD, images, masks, eps, attack_spec("pgd", steps=2), **options)


def by_apgd(images: Any, masks: Any, eps: Any = EPS, **options: Any) -> Tensor:
    return run_attack(FORWARD, images, masks, eps, attack_spec("apgd", steps=2), **options)


def by_scores(images: Any, masks: Any, eps: Any = EPS, **options: Any) -> Tensor:
    return square_attack(FORWARD, images, masks, eps, queries=2, **options)


def by_library(images: Any, masks: Any, eps: Any = EPS) -> Tensor:
    return engine_attack(localizer(), SPEC, images, masks, eps, EngineAttack("PGD", steps=1))
