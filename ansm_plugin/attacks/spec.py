"""What an attack is: a frozen description, and the named ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ansm_plugin.attacks.ball import Norm, Region
from ansm_plugin.attacks.objectives import objective
from ansm_plugin.errors import ConfigError, unknown_name

Transform = Callable[[Tensor, torch.Generator], Tensor]
Method = Literal["steps", "apgd"]


@dataclass(frozen=True)
class Expectation:
    """A random change that an attack expects on the way (EOT, Athalye et al., ICML 2018).

    Attributes:
        transform: differentiable and random, such as `augment.channel`: pixels `(B, 3, H, W)` and
            the attack's generator -> pixels.
        draws: how many transforms are averaged in each step.
    """

    transform: Transform
    draws: int = 1

    def __post_init__(self) -> None:
        """Raise ConfigError where nothing is drawn."""
        if self.draws < 1:
            raise ConfigError(f"draws is {self.draws}; an expectation needs at least 1.")


@dataclass(frozen=True, kw_only=True)
class AttackSpec:
    """How one attack searches the ball.

    Attributes:
        objective: name in `OBJECTIVES`, maximised.
        steps: number of gradient steps.
        step_share: step size as a share of eps; None is 2.5 / steps (Madry et al., ICLR 2018), for
            MI-FGSM too: its own 1 / steps never leaves the way it took first and hurts less. APGD
            chooses its own.
        momentum: decay of the accumulated gradient (MI-FGSM, Dong et al., CVPR 2018); 0 is none.
        random_start: whether to start at a uniform point of the ball instead of its centre.
        method: "steps" is the plain loop, "apgd" chooses its step size per image.
        norm: of the ball: "linf", or "l2" with eps the root mean square change.
        nesterov: take the gradient where momentum is about to lead (NI-FGSM, Lin et al., ICLR
            2020).
        neighbours: gradients per step, beside the own, that tune the variance (VMI-FGSM, Wang and
            He, CVPR 2021); 0 is none.
        diversity: probability that a step sees a resized and moved image, the mask moved with it
            (DI-FGSM, Xie et al., CVPR 2019; its mask stays in place elsewhere).
        region: where noise is allowed: "everywhere", "forged" or "patch" (`ball.draw_region`).
        restarts: independent runs, of which the most successful counts per image.
    """

    objective: str = "bce"
    steps: int = 10
    step_share: float | None = None
    momentum: float = 0.0
    random_start: bool = False
    method: Method = "steps"
    norm: Norm = "linf"
    nesterov: bool = False
    neighbours: int = 0
    diversity: float = 0.0
    region: Region = "everywhere"
    restarts: int = 1

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown names and numbers out of range."""
        objective(self.objective)
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; an attack needs at least 1.")
        for field, allowed in (("method", Method), ("norm", Norm), ("region", Region)):
            if getattr(self, field) not in get_args(allowed):
                raise ConfigError(unknown_name(field, getattr(self, field), get_args(allowed)))
        if self.restarts < 1 or self.neighbours < 0 or not 0 <= self.diversity <= 1:
            raise ConfigError(
                f"restarts is {self.restarts}, neighbours {self.neighbours} and diversity "
                f"{self.diversity}; allowed: at least 1, at least 0, and 0 to 1."
            )

    @property
    def relative_step(self) -> float:
        """Step size as a share of eps."""
        if self.step_share is not None:
            return self.step_share
        return 2.5 / self.steps

    @property
    def gradients(self) -> int:
        """Forward and backward passes per image, for one draw of a transform."""
        return self.steps * self.restarts * (1 + self.neighbours)


def _pgd(objective: str = "bce", **changes: object) -> AttackSpec:
    return replace(AttackSpec(objective=objective, random_start=True), **changes)  # type: ignore[arg-type]


def _mifgsm(**changes: object) -> AttackSpec:
    return replace(AttackSpec(momentum=1.0), **changes)  # type: ignore[arg-type]


ATTACKS: dict[str, AttackSpec] = {
    "fgsm": AttackSpec(steps=1, step_share=1.0),
    "pgd": _pgd(),
    "mifgsm": _mifgsm(),
    "cospgd": _pgd("cospgd"),
    "margin": _pgd("margin"),
    "hide": _pgd("hide"),
    "segpgd": _pgd("segpgd"),
    "balanced": _pgd("balanced"),
    "mce": _pgd("mce"),
    "js": _pgd("js"),
    "dice": _pgd("dice"),
    "nifgsm": _mifgsm(nesterov=True),
    "vmifgsm": _mifgsm(neighbours=5),
    "difgsm": _mifgsm(diversity=0.5),
    "apgd": _pgd(method="apgd"),
    "apgd-cospgd": _pgd("cospgd", method="apgd"),
    "apgd-margin": _pgd("margin", method="apgd"),
    "apgd-js": _pgd("js", method="apgd"),
    "apgd-dice": _pgd("dice", method="apgd"),
    "apgd-hide": _pgd("hide", method="apgd"),
    "pgd-l2": _pgd(norm="l2"),
    "apgd-l2": _pgd("margin", method="apgd", norm="l2"),
    "region": _pgd("margin", region="forged"),
    "patch": _pgd("margin", region="patch"),
}


def attack_spec(
    name: str, *, steps: int | None = None, step_share: float | None = None
) -> AttackSpec:
    """Return an attack by name, or raise ConfigError with the nearest names.

    `steps` and `step_share` replace those of the attack, except of the one-step FGSM.
    """
    if name not in ATTACKS:
        raise ConfigError(unknown_name("attack", name, ATTACKS))
    spec = ATTACKS[name]
    if name == "fgsm":
        return spec
    return replace(
        spec,
        steps=spec.steps if steps is None else steps,
        step_share=spec.step_share if step_share is None else step_share,
    )


def require_attacks(names: Sequence[str], *, steps: int | None = None) -> None:
    """Raise ConfigError unless there is a name, every one is known, and `steps` serves them all."""
    for name in names:
        attack_spec(name, steps=steps)
    if not names:
        raise ConfigError(f"attacks is {names}; name one or more of: {', '.join(ATTACKS)}.")
