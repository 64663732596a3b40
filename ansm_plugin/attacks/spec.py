"""What an attack is: a frozen description, and the named ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ansm_plugin.attacks.ball import Norm, Region
from ansm_plugin.attacks.foreign import find, foreign_names, is_foreign, takes_steps
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
        objective: name in `OBJECTIVES`, or `module:function` (see `foreign`); maximised.
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
        for word, allowed in (("method", Method), ("norm", Norm), ("region", Region)):
            if getattr(self, word) not in get_args(allowed):
                raise ConfigError(unknown_name(word, getattr(self, word), get_args(allowed)))
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
    def identity(self) -> str:
        """All that decides the attack, as text; with the code of an objective of another's."""
        base = self.objective.rpartition(" ")[2]
        return f"{self} {find(base).code}" if ":" in base else str(self)

    @property
    def gradients(self) -> int:
        """Forward and backward passes per image, for one draw of a transform."""
        return self.steps * self.restarts * (1 + self.neighbours)


@dataclass(frozen=True, kw_only=True)
class ForeignAttack(AttackSpec):
    """An attack that a function of another package makes, in its own way.

    Of the fields of `AttackSpec` it knows `steps`, where the function has such a parameter, and
    `restarts`; it has the whole image, the norm "linf", no start and no expectation.

    Attributes:
        name: as it was asked for.
        code: first digits of the sha256 of its file.
        function: see `foreign.AttackFunction`.
        origin: whose it is, for messages.
    """

    name: str
    code: str
    function: Callable[..., object] = field(repr=False)
    origin: str = field(repr=False)

    @property
    def counts_steps(self) -> bool:
        """Whether `steps` means anything to the function."""
        return takes_steps(self.function)


def foreign_attack(name: str) -> AttackSpec:
    """Return an attack of another package: of a function, or an `AttackSpec` as it is there.

    Raises:
        ConfigError: there is none of this name, or it is something else.
    """
    found = find(name)
    made = found.made
    if isinstance(made, AttackSpec):
        if made.norm != "linf":  # rows of results tell the norm by the names of ours
            raise ConfigError(f"attack {found.origin} has the norm {made.norm}; allowed: linf.")
        return made
    if isinstance(made, type) or not callable(made):
        raise ConfigError(
            f"attack {found.origin} is {_kind(made)}; allowed: a function (pixels, masks, eps, "
            "forward, generator) -> attacked pixels, or an AttackSpec."
        )
    steps = AttackSpec().steps if takes_steps(made) else 1
    return ForeignAttack(
        name=name, code=found.code, function=made, origin=found.origin, steps=steps
    )


def _kind(made: object) -> str:
    return f"the class {made.__name__}" if isinstance(made, type) else type(made).__name__


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
    """Return an attack by name: ours, another package's entry point, or `module:function`.

    `steps` and `step_share` replace those of the attack, except of the one-step FGSM and of a
    function that counts no steps.

    Raises:
        ConfigError: an unknown name (the nearest ones are offered), or no attack behind it.
    """
    if name in ATTACKS:
        spec = ATTACKS[name]
    elif is_foreign(name):
        spec = foreign_attack(name)
    else:
        known = [*ATTACKS, *foreign_names(), "module:function"]
        raise ConfigError(unknown_name("attack", name, known))
    if name == "fgsm" or (isinstance(spec, ForeignAttack) and not spec.counts_steps):
        return spec
    return replace(
        spec,
        steps=spec.steps if steps is None else steps,
        step_share=spec.step_share if step_share is None else step_share,
    )


def require_startable(what: str, names: Sequence[str]) -> None:
    """Raise ConfigError where an attack is a function, which takes no start and no expectation.

    Args:
        what: is said of them, for the message.
        names: known attacks.
    """
    for name in names:
        if isinstance(attack_spec(name), ForeignAttack):
            raise ConfigError(
                f"{what} names {name}, a function of another package, which takes neither a start "
                "nor an expectation. Name one of our attacks there, or an AttackSpec with an "
                "objective of your own."
            )


def require_attacks(names: Sequence[str], *, steps: int | None = None) -> None:
    """Raise ConfigError unless there is a name, every one is known, and `steps` serves them all."""
    for name in names:
        attack_spec(name, steps=steps)
    if not names:
        raise ConfigError(f"attacks is {names}; name one or more of: {', '.join(ATTACKS)}.")
