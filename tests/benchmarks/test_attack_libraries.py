"""Our attacks beside those of torchattack, torchattacks and cospgd, on the embedded localizer.

`python tests/benchmarks/test_attack_libraries.py [--images 32] [--eps 4]` prints three tables:
agreement at equal steps and step size, strength at an equal number of gradients, and speed, side by
side in one process. The tests check agreement and strength on a few images.

The libraries: `pip install torchattack cospgd` and `pip install --no-deps torchattacks` (its pins
would replace a current `requests`); what is missing is left out.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from ansm_plugin.attacks import ATTACKS, AttackSpec, attack_spec, run_attack
from ansm_plugin.attacks.ball import ball
from ansm_plugin.attacks.engines import (
    ENGINE_ATTACKS,
    BinaryAsTwoClass,
    DenseLoss,
    EngineAttack,
    engine_attack,
)
from ansm_plugin.attacks.objectives import f1
from ansm_plugin.backbones.reference import DEFAULT_LOCALIZER, build_localizer
from ansm_plugin.data.crops import DataConfig, load_crops
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.spec import LocalizerSpec

STEPS = 10
TOLERANCE = 0.02  # of F1
ENSEMBLE = ("apgd-margin", "apgd-dice", "apgd-cospgd")
AGREEING = ("pgd", "mifgsm", "segpgd", "cospgd")
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
    return {k: v for k, v in found.items() if k == "ours" or _has(k)}


def _has(library: str) -> bool:
    try:
        importlib.import_module(library)
    except ImportError:
        return False
    return True


def strongest_candidates(bed: Bed, gradients: int) -> dict[str, Attack]:
    """Return every library attack with as many steps as `gradients` pay for."""
    found: dict[str, Attack] = {}
    if _has("torchattack"):
        for name, norm in ENGINE_ATTACKS.items():
            if norm == "linf" and name not in ("FGSM", "TIFGSM"):  # one step; no harm at all
                found[f"torchattack {name}"] = _paid(bed, name, gradients)
        found["torchattack PGD with our margin loss"] = lambda: engine_attack(
            bed.model, bed.spec, bed.images, bed.masks, bed.eps,
            EngineAttack("PGD", "margin", gradients),
        )  # fmt: skip
    if _has("torchattacks"):
        for name, cost in (("PGD", 1), ("MIFGSM", 1), ("NIFGSM", 1), ("VNIFGSM", 6)):
            steps = gradients // cost
            found[f"torchattacks {name}"] = (
                lambda name=name, steps=steps: with_torchattacks(bed, name, steps)  # type: ignore[misc]
            )
    if _has("cospgd"):
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


@pytest.fixture(scope="module")
def bed() -> Bed:
    return make_bed(4)


@pytest.mark.slow
@pytest.mark.parametrize("name", AGREEING)
def test_attacks_agree_with_the_libraries(bed: Bed, name: str) -> None:
    found = {library: attack() for library, attack in twins(bed, name, steps=5).items()}
    if len(found) == 1:
        pytest.skip("none of the libraries is installed")
    scores = {library: bed.f1(attacked) for library, attacked in found.items()}
    for library, score in scores.items():
        assert abs(score - scores["ours"]) <= TOLERANCE, (library, scores)
    assert (255 * (found["ours"] - bed.images)).abs().max() <= 255 * bed.eps + 1e-3


@pytest.mark.slow
def test_the_ensemble_is_as_strong_as_library_attacks_of_equal_cost(bed: Bed) -> None:
    attacked, gradients = ensemble(bed, 4)
    rivals = {
        name: attack
        for name, attack in strongest_candidates(bed, gradients).items()
        if name.endswith((" PGD", " VNIFGSM", " CosPGD"))
    }
    if not rivals:
        pytest.skip("none of the libraries is installed")
    left = {name: bed.f1(attack()) for name, attack in rivals.items()}
    assert bed.f1(attacked) <= min(left.values()) + 1e-6, left


def test_the_loss_handed_to_libraries_is_the_objective() -> None:
    logits, labels = torch.randn(2, 2, 4, 4), torch.randint(2, (2, 4, 4))
    wanted = nn.functional.cross_entropy(logits, labels, reduction="sum")
    torch.testing.assert_close(DenseLoss("bce")(logits, labels), wanted)
    assert set(AGREEING) <= set(ATTACKS)


def print_agreement(bed: Bed) -> None:
    """Print F1 left by each attack in each library."""
    print(f"\nAgreement: F1 left, {STEPS} steps, step {2.5 / STEPS:g} eps, no random start")
    print("| attack | library | F1 left | ours | difference |")
    print("|---|---|---|---|---|")
    for name in AGREEING:
        scores = {library: bed.f1(attack()) for library, attack in twins(bed, name).items()}
        for library, score in scores.items():
            if library != "ours":
                difference = abs(score - scores["ours"])
                print(f"| {name} | {library} | {score:.4f} | {scores['ours']:.4f} | "
                      f"{difference:.4f} |")  # fmt: skip


def print_strength(bed: Bed, steps: int) -> None:
    """Print F1 left by our ensemble and by every library attack of equal cost."""
    attacked, gradients = ensemble(bed, steps)
    print(f"\nStrength: F1 left with {gradients} gradients per image, 8-bit images")
    print("| attack | F1 left |\n|---|---|")
    print(f"| our worst case of {', '.join(ENSEMBLE)} | {bed.f1(attacked):.4f} |", flush=True)
    found: dict[str, float] = {}
    for name, attack in strongest_candidates(bed, gradients).items():
        found[name] = bed.f1(attack())
        print(f"| {name} | {found[name]:.4f} |", flush=True)
    if found:
        print(f"\nstrongest of the libraries: {min(found, key=found.__getitem__)}")


def print_speed(bed: Bed, rounds: int) -> None:
    """Print images per second of PGD; rounds are interleaved, so noise is shared."""
    spec = replace(attack_spec("pgd", steps=STEPS), random_start=False)
    runs = {**twins(bed, "pgd"), "cospgd": lambda: with_cospgd(bed, "cospgd", STEPS)}
    runs["ours, bf16 and channels_last"] = lambda: ours(bed, spec, "bf16")
    if not _has("cospgd"):
        del runs["cospgd"]
    times: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, float] = {}
    for _ in range(rounds + 1):
        for name, attack in runs.items():
            start = time.perf_counter()
            attacked = attack()
            times[name].append(time.perf_counter() - start)
            scores[name] = bed.f1(attacked)
    taken = {name: median(t[1:]) for name, t in times.items()}  # the first round warms up
    libraries = [taken[name] for name in taken if not name.startswith("ours")]
    fastest = min(libraries, default=taken["ours"])
    print(f"\nSpeed: PGD with {STEPS} steps, {torch.get_num_threads()} threads")
    print("| engine | images per second | x fastest library | F1 left |\n|---|---|---|---|")
    for name, seconds in taken.items():
        rate = len(bed.images) / seconds
        print(f"| {name} | {rate:.1f} | {fastest / seconds:.2f} | {scores[name]:.4f} |")


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=32, help="forged crops of 64 x 64 pixels")
    parser.add_argument("--steps", type=int, default=20, help="of each of the three APGD")
    parser.add_argument("--rounds", type=int, default=5, help="of the speed measurement")
    parser.add_argument("--eps", type=float, default=4, help="radius in grey levels")
    given = parser.parse_args()
    bed = make_bed(given.images, given.eps)
    print(
        f"{given.images} images, F1 without attack {bed.f1(bed.images):.4f}, eps {255 * bed.eps:g}"
    )
    print_agreement(bed)
    print_speed(bed, given.rounds)
    print_strength(bed, given.steps)


if __name__ == "__main__":
    main()
