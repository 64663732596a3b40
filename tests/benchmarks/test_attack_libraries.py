"""Our attacks beside those of torchattack, torchattacks and cospgd, on the embedded localizer.

`python tests/benchmarks/test_attack_libraries.py [--images 32] [--eps 4]` prints three tables:
agreement at equal steps and step size, strength at an equal number of gradients, and speed, side by
side in one process. The tests check agreement and strength on a few images.

The libraries: `pip install torchattack cospgd` and `pip install --no-deps torchattacks` (its pins
would replace a current `requests`); what is missing is left out.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
import torch
from torch import nn

from ansm_plugin.attacks import ATTACKS, attack_spec
from ansm_plugin.attacks.engines import DenseLoss

sys.path.append(str(Path(__file__).parents[1]))  # for support, where this runs as a script

from support.library_attacks import (
    ENSEMBLE,
    STEPS,
    Bed,
    ensemble,
    has,
    make_bed,
    ours,
    strongest_candidates,
    twins,
    with_cospgd,
)

TOLERANCE = 0.02  # of F1
AGREEING = ("pgd", "mifgsm", "segpgd", "cospgd")


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
    if not has("cospgd"):
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
