"""What is evaluated: samples, attacks and their order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import AttackSpec, attack_spec
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.evaluation.results import Defence, Threat
from ansm_plugin.localizer import require_pixels


class Sample(NamedTuple):
    """A batch of images of one size.

    Images `(B, 3, H, W)` in [0, 1], masks `(B, 1, H, W)` in {0, 1}, one name each. An empty mask
    marks an authentic image.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is attacked, and how hard.

    Attributes:
        attacks: names in `attacks.ATTACKS`, through the bare localizer (T1).
        eps_255: their radii in grey levels.
        steps: their gradient steps.
        white_box_steps: steps of PGD through the defended localizer (T4); 0 leaves it out.
        white_box_eps_255: its radii in grey levels.
        precision: "bf16" runs attack and scoring under autocast.
        seed: decides random starts and bootstrap.
    """

    attacks: tuple[str, ...] = ("pgd", "mifgsm", "cospgd")
    eps_255: tuple[float, ...] = (2, 4, 8)
    steps: int = 10
    white_box_steps: int = 20
    white_box_eps_255: tuple[float, ...] = (8,)
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and numbers out of range."""
        for name in self.attacks:
            attack_spec(name)
        if self.steps < 1 or self.white_box_steps < 0:
            raise ConfigError(
                f"steps is {self.steps} and white_box_steps {self.white_box_steps}; allowed: at "
                "least 1, and at least 0 (0 leaves the white-box attack out)."
            )
        for field in ("eps_255", "white_box_eps_255"):
            radii = getattr(self, field)
            if not radii or not all(0 < eps <= 255 for eps in radii):
                raise ConfigError(
                    f"{field} is {radii}; allowed: one radius or more, each above 0 and at most "
                    "255 grey levels."
                )
        if self.precision not in ("fp32", "bf16"):
            raise ConfigError(f"precision is {self.precision!r}; allowed: fp32, bf16.")


class Cell(NamedTuple):
    """One attack, the model it goes through and the defences scored on its images."""

    threat: Threat
    attack: str
    eps_255: float
    spec: AttackSpec | None
    through: Defence
    scored: tuple[Defence, ...]


def attack_generator(seed: int, attack: str, eps_255: float, batch: int) -> torch.Generator:
    """Return the source of the random start of one attack on one batch.

    It depends on its arguments alone, so neither the order nor the choice of other attacks
    changes a result.
    """
    text = f"{seed} {attack} {float(eps_255)} {batch}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def plan(config: EvaluationConfig) -> list[Cell]:
    """Return all attacks of an evaluation: T0 first, then T1 and T4."""
    both: tuple[Defence, ...] = ("none", "ansm")
    grey = [
        Cell("T1", name, float(eps), attack_spec(name, steps=config.steps), "none", both)
        for name in config.attacks
        for eps in config.eps_255
    ]
    white = [
        Cell(
            "T4",
            "pgd",
            float(e),
            attack_spec("pgd", steps=config.white_box_steps),
            "ansm",
            ("ansm",),
        )
        for e in (config.white_box_eps_255 if config.white_box_steps else ())
    ]
    return [Cell("T0", "none", 0.0, None, "none", both), *grey, *white]


def require_samples(samples: Sequence[Sample]) -> int:
    """Return the number of images.

    Raises:
        ImageError: a sample cannot be scored, or no image is forged.
    """
    count, any_forged = 0, False
    for images, masks, names in samples:
        require_pixels(images)
        expected = (len(images), 1, *images.shape[-2:])
        if tuple(masks.shape) != expected or len(names) != len(images):
            raise ImageError(
                f"masks have shape {tuple(masks.shape)} and there are {len(names)} names; images "
                f"of shape {tuple(images.shape)} need masks {expected} and one name each."
            )
        if not bool(((masks == 0) | (masks == 1)).all()):
            raise ImageError(f"the masks of {', '.join(names[:3])} hold other values than 0 and 1.")
        count += len(images)
        any_forged = any_forged or bool(masks.any())
    if not any_forged:
        raise ImageError(
            f"none of the {len(samples)} batches holds a forged image (a mask that is not empty); "
            "F1 needs at least one."
        )
    return count
