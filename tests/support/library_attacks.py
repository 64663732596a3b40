"""Attacks of ours and of torchattack, torchattacks and cospgd on one bed of forged images."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import AttackSpec, attack_spec, run_attack
from ansm_plugin.attacks.ball import ball
from ansm_plugin.attacks.engines import (
    ENGINE_ATTACKS,
    BinaryAsTwoClass,
    EngineAttack,
    engine_attack,
)
from ansm_plugin.attacks.objectives import f1
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import LocalizerSpec

ENSEMBLE = ("apgd-margin", "apgd-dice", "apgd-cospgd")

STEPS = 10
Attack = Callable[[], Tensor]


class Bed(NamedTuple):
    """A localizer, how to talk to it, forged images, and the radius in pixel units."""

    model: nn.Module
    spec: LocalizerSpec
    images: Tensor
    masks: Tensor
    eps: float

    def f1(self, attacked: Tensor) -> float:
        """Return the mean F1 that attacked images leave."""
        with torch.no_grad():
            return float(f1(mask_forward(self.model, self.spec)(attacked), self.masks).mean())

    @property
    def labels(self) -> Tensor:
        """Masks as class labels `(B, H, W)`."""
        return self.masks.squeeze(1).long()

    def two_classes(self) -> nn.Module:
        """Return the localizer as a user of a library would adapt it: contiguous, two classes."""
        adapted = BinaryAsTwoClass(
            lambda pixels: self.spec.mask_logits(
                self.model(self.spec.normalise(pixels)), (pixels.shape[-2], pixels.shape[-1])
            )
        )
        adapted.add_module("localizer", self.model)  # torchattacks asks it for its device
        return adapted.eval()


def make_bed(images: int, eps_255: float = 4) -> Bed:
    """Return the embedded localizer and forged test crops, 64 pixels on each side."""
    model = build_localizer(DEFAULT_LOCALIZER).requires_grad_(False)
    crops = load_crops(DataConfig(split="test", count=images, seed=1))
    return Bed(
        model, describe(model), crops.images.float() / 255, crops.masks.float(), eps_255 / 255
    )


def ours(bed: Bed, spec: AttackSpec, precision: str = "fp32") -> Tensor:
    """Return images attacked by our engine."""
    forward = mask_forward(bed.model, bed.spec, precision=precision)
    generator = torch.Generator().manual_seed(0)
    return run_attack(forward, bed.images, bed.masks, bed.eps, spec, generator=generator)


def with_torchattack(bed: Bed, name: str, steps: int, **options: Any) -> Tensor:
    """Return images attacked by torchattack, as its user would."""
    library = importlib.import_module("torchattack")
    attack = getattr(library, name)(
        bed.two_classes(), None, bed.images.device,
        eps=bed.eps, steps=steps, alpha=_alpha(bed, steps), **options,
    )  # fmt: skip
    return _finished(bed, attack(bed.images, bed.labels))


def with_torchattacks(bed: Bed, name: str, steps: int, **options: Any) -> Tensor:
    """Return images attacked by torchattacks, as its user would."""
    library = importlib.import_module("torchattacks")
    attack = getattr(library, name)(
        bed.two_classes(), eps=bed.eps, steps=steps, alpha=_alpha(bed, steps), **options
    )
    return _finished(bed, attack(bed.images, bed.labels))


def with_cospgd(bed: Bed, name: str, steps: int) -> Tensor:
    """Return images attacked with cospgd's functions, in the loop of its read-me."""
    functions = importlib.import_module("cospgd").functions
    model, attacked = bed.two_classes(), bed.images.clone()
    for step in range(steps):
        attacked.requires_grad_(True)
        logits = model(attacked)
        loss = nn.functional.cross_entropy(logits, bed.labels, reduction="none")
        if name == "segpgd":
            total = functions.segpgd_scale(logits, bed.labels, loss, step, steps)
        else:
            total = functions.cospgd_scale(logits, bed.labels, loss, num_classes=2).mean()
        (gradient,) = torch.autograd.grad(total, attacked)
        attacked = functions.step_inf(
            attacked, bed.eps, gradient, bed.images, _alpha(bed, steps), False
        )
    return _finished(bed, attacked)


def _alpha(bed: Bed, steps: int) -> float:
    return AttackSpec(steps=steps).relative_step * bed.eps


def _finished(bed: Bed, attacked: Tensor) -> Tensor:
    """Return 8-bit images in the ball: an attack that works in float only is not an image."""
    within = ball(bed.images, bed.eps)
    return within.round(within.project(attacked.detach()))


def twins(bed: Bed, name: str, steps: int = STEPS) -> dict[str, Attack]:
    """Return one attack by each library that has it, without a random start; ours first."""
    plain = replace(attack_spec(name, steps=steps), random_start=False)
    found: dict[str, Attack] = {"ours": lambda: ours(bed, plain)}
    if name == "pgd":
        found["torchattack"] = lambda: with_torchattack(bed, "PGD", steps, random_start=False)
        found["torchattacks"] = lambda: with_torchattacks(bed, "PGD", steps, random_start=False)
    elif name == "mifgsm":
        found["torchattack"] = lambda: with_torchattack(bed, "MIFGSM", steps)
        found["torchattacks"] = lambda: with_torchattacks(bed, "MIFGSM", steps)
    else:
        found["cospgd"] = lambda: with_cospgd(bed, name, steps)
    return {k: v for k, v in found.items() if k == "ours" or has(k)}


def has(library: str) -> bool:
    """Return whether a library is installed."""
    try:
        importlib.import_module(library)
    except ImportError:
        return False
    return True


def strongest_candidates(bed: Bed, gradients: int) -> dict[str, Attack]:
    """Return every library attack with as many steps as `gradients` pay for."""
    found: dict[str, Attack] = {}
    if has("torchattack"):
        for name, norm in ENGINE_ATTACKS.items():
            if norm == "linf" and name not in ("FGSM", "TIFGSM"):  # one step; no harm at all
                found[f"torchattack {name}"] = _paid(bed, name, gradients)
        found["torchattack PGD with our margin loss"] = lambda: engine_attack(
            bed.model, bed.spec, bed.images, bed.masks, bed.eps,
            EngineAttack("PGD", "margin", gradients),
        )  # fmt: skip
    if has("torchattacks"):
        for name, cost in (("PGD", 1), ("MIFGSM", 1), ("NIFGSM", 1), ("VNIFGSM", 6)):
            steps = gradients // cost
            found[f"torchattacks {name}"] = (
                lambda name=name, steps=steps: with_torchattacks(bed, name, steps)  # type: ignore[misc]
            )
    if has("cospgd"):
        found["cospgd CosPGD"] = lambda: with_cospgd(bed, "cospgd", gradients)
        found["cospgd SegPGD"] = lambda: with_cospgd(bed, "segpgd", gradients)
    return found


def _paid(bed: Bed, name: str, gradients: int) -> Attack:
    """Return a library attack whose steps cost `gradients` in all."""
    steps = max(1, gradients // _passes_per_step(bed, name))
    data = (bed.model, bed.spec, bed.images, bed.masks, bed.eps)
    return lambda: engine_attack(*data, EngineAttack(name, steps=steps))


def _passes_per_step(bed: Bed, name: str) -> int:
    """Count forward passes with gradient of one step, on a tiny image."""
    passes = 0

    class Counting(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            nonlocal passes
            passes += torch.is_grad_enabled()
            return inputs.mean(1, keepdim=True)

    images, masks = bed.images[:1, :, :32, :32], bed.masks[:1, :, :32, :32]
    engine_attack(Counting(), LocalizerSpec(), images, masks, bed.eps, EngineAttack(name, steps=1))
    return passes


def ensemble(bed: Bed, steps: int) -> tuple[Tensor, int]:
    """Return per image the lowest F1's attacked version, and the gradients of all per image."""
    specs = [attack_spec(name, steps=steps) for name in ENSEMBLE]
    forward = mask_forward(bed.model, bed.spec)
    generator = torch.Generator().manual_seed(0)
    each = [
        run_attack(forward, bed.images, bed.masks, bed.eps, spec, generator=generator)
        for spec in specs
    ]
    with torch.no_grad():
        lowest = torch.stack([f1(forward(attacked), bed.masks) for attacked in each]).argmin(0)
    attacked = torch.stack(each)[lowest, torch.arange(len(lowest))]
    return attacked, sum(spec.gradients for spec in specs)
