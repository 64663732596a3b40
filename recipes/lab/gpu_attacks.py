"""Rows of `lab.gpu`: how fast our attacks are, beside a library's."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.attacks import attack_spec, run_attack
from ansm_plugin.attacks.ball import ball
from ansm_plugin.attacks.captured import attack_forward
from ansm_plugin.attacks.engines import BinaryAsTwoClass
from ansm_plugin.backbones.reference import SMALL_LOCALIZER, build_localizer
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import LocalizerSpec
from lab.gpu_clock import Row, Scale, seconds_by_turns

EMBEDDED, UNET = SMALL_LOCALIZER, "smp:Unet?encoder_name=resnet34"
_EPS = 4 / 255
_LIBRARY = "torchattack"
_OWN = "torchattack-like plain PGD"


class Bed(NamedTuple):
    """A localizer, how to talk to it, and images with masks on its device."""

    localizer: nn.Module
    spec: LocalizerSpec
    images: Tensor
    masks: Tensor


class Speed(NamedTuple):
    """Images per second of PGD: ours in tf32 and bf16, and the rival's in tf32."""

    tf32: float
    bf16: float
    rival: float


def rival_name() -> str:
    """Return what our attacks are held against: the library, or its PGD written out here."""
    return _LIBRARY if importlib.util.find_spec(_LIBRARY) else _OWN


def against_rival(name: str) -> Callable[[Scale], str]:
    """Return what measures a localizer's row: images per second, ours over the rival's."""

    def measure(scale: Scale) -> str:
        found = speed(name, scale)
        return (
            f"{found.tf32:.0f} / {found.rival:.0f} = {found.tf32 / found.rival:.2f}; "
            f"bf16 {found.bf16:.0f} = {found.bf16 / found.rival:.2f} (rival: {rival_name()})"
        )

    return measure


def gain_of_bf16(scale: Scale) -> str:
    """Return how much faster our attacks are in bf16 than in tf32, before both localizers."""
    gains = [found.bf16 / found.tf32 for found in (speed(EMBEDDED, scale), speed(UNET, scale))]
    return " and ".join(f"{gain:.2f} x" for gain in gains)


ROWS = (
    Row(
        "PGD-10, 32 images of 256x256, embedded localizer: images/s, ours over a library's (tf32)",
        "152 / 217 = 0.70",
        ">= 1.5; bf16 >= 2.5",
        against_rival(EMBEDDED),
    ),
    Row(
        'the same before `smp.Unet("resnet34")`',
        "137 / 155 = 0.88",
        ">= 1.3; bf16 >= 2.5",
        against_rival(UNET),
    ),
    Row("gain of bf16 over tf32 in our attacks", "0.9 to 1.2 x", ">= 1.8", gain_of_bf16),
)


@cache
def speed(name: str, scale: Scale) -> Speed:
    """Measure PGD on a localizer: ours and the rival's by turns."""
    bed = make_bed(name, scale)
    runs = {precision: ours(bed, scale, precision) for precision in ("fp32", "bf16")} | {
        "rival": rival(bed, scale)
    }
    taken = seconds_by_turns(runs, scale)
    return Speed(*(scale.images / taken[way] for way in ("fp32", "bf16", "rival")))


def make_bed(name: str, scale: Scale) -> Bed:
    """Return a localizer (the U-Net with random weights) with random images and a square mask."""
    torch.manual_seed(0)
    localizer = build_localizer(name).requires_grad_(False).to(scale.device)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(scale.images, 3, scale.side, scale.side, generator=generator)
    masks = torch.zeros(scale.images, 1, scale.side, scale.side)
    masks[..., : scale.side // 2, : scale.side // 2] = 1
    return Bed(localizer, describe(localizer), images.to(scale.device), masks.to(scale.device))


def ours(bed: Bed, scale: Scale, precision: str) -> Callable[[], Tensor]:
    """Return our PGD, as commands run it; fp32 is tf32 on devices that have it."""
    forward = attack_forward(bed.localizer, bed.spec, precision=precision)
    spec = attack_spec("pgd", steps=scale.steps)
    generator = torch.Generator().manual_seed(0)
    return lambda: run_attack(forward, bed.images, bed.masks, _EPS, spec, generator=generator)


def rival(bed: Bed, scale: Scale) -> Callable[[], Tensor]:
    """Return PGD by the library where it is installed, else in the same way without it."""
    model = BinaryAsTwoClass(
        lambda pixels: bed.spec.mask_logits(
            bed.localizer(bed.spec.normalise(pixels)), (pixels.shape[-2], pixels.shape[-1])
        )
    ).eval()
    labels, share = bed.masks.squeeze(1).long(), attack_spec("pgd", steps=scale.steps).relative_step
    if rival_name() == _LIBRARY:
        attack: Any = importlib.import_module(_LIBRARY).PGD(
            model, None, scale.device, eps=_EPS, steps=scale.steps, alpha=share * _EPS
        )
        return lambda: attack(bed.images, labels)
    return lambda: plain_pgd(model, bed.images, labels, scale.steps, share * _EPS)


def plain_pgd(
    model: nn.Module, images: Tensor, labels: Tensor, steps: int, step_size: float
) -> Tensor:
    """Return images attacked by PGD as libraries have it: whole model, class labels, no capture.

    Shape: images `(B, 3, H, W)` in [0, 1] and labels `(B, H, W)` -> images.
    """
    within = ball(images, _EPS)
    current = within.start(None)
    for _ in range(steps):
        leaf = current.detach().requires_grad_()
        loss = functional.cross_entropy(model(leaf), labels)
        (gradient,) = torch.autograd.grad(loss, leaf)
        current = within.project(current + step_size * gradient.sign())
    return current.detach()
