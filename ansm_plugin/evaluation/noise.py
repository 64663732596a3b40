"""What noise the images of an evaluation carry: one type for each way to make it.

Every noise has a `label`, the name of its rows, which decides its random start too; `eps_255`, its
radius in grey levels; and `steps`, its gradient steps. Cells whose noise is equal share its images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ansm_plugin.attacks import AttackSpec
from ansm_plugin.attacks.aims import TRUTH, Aim
from ansm_plugin.evaluation.results import BARE, DEFENDED, NO_ATTACK, Defence


@dataclass(frozen=True)
class Nothing:
    """Original images."""

    label: ClassVar[str] = NO_ATTACK
    eps_255: ClassVar[float] = 0.0
    steps: ClassVar[int] = 0


@dataclass(frozen=True)
class RandomSigns:
    """A random sign of one size at each value: noise that nobody searched for, a control."""

    eps_255: float

    label: ClassVar[str] = "noise"
    steps: ClassVar[int] = 0


@dataclass(frozen=True)
class Gradient:
    """A gradient attack of one who has the localizer, alone or with its module.

    Attributes:
        name: in `attacks.ATTACKS`.
        spec: the attack with its steps.
        eps_255: radius in grey levels.
        through: the forward that is attacked.
        way: what makes it adaptive, for its label; "" for nothing.
        start: noise to start from; None starts as `spec` says.
        draws: random channels that each step averages (EOT); 0 attacks the image itself.
        aim: what it is told; noise to swap is that of the same attack told the truth.
    """

    name: str
    spec: AttackSpec
    eps_255: float
    through: Defence = BARE
    way: str = ""
    start: Gradient | None = None
    draws: int = 0
    aim: Aim = TRUTH

    @property
    def label(self) -> str:
        """The attack, what it is told if not the truth, and what makes it adaptive."""
        told = "" if self.aim == TRUTH else self.aim
        return ", ".join(filter(None, (self.name, told, self.way)))

    @property
    def steps(self) -> int:
        """Gradient steps."""
        return self.spec.steps


@dataclass(frozen=True)
class Transfer:
    """A gradient attack of one who has another localizer, or another module before the same one.

    Attributes:
        name: in `attacks.ATTACKS`, or "features".
        spec: the attack with its steps.
        eps_255: radius in grey levels.
        through: name of what he has.
    """

    name: str
    spec: AttackSpec
    eps_255: float
    through: str

    @property
    def label(self) -> str:
        """The attack and what it went through."""
        return f"{self.name} from {self.through}"

    @property
    def steps(self) -> int:
        """Gradient steps."""
        return self.spec.steps


@dataclass(frozen=True)
class BlackBox:
    """A search of one who sees scores alone.

    Attributes:
        eps_255: radius in grey levels.
        queries: forward passes that it may ask for.
        through: the forward that answers.
    """

    eps_255: float
    queries: int
    through: Defence = DEFENDED

    label: ClassVar[str] = "square"
    steps: ClassVar[int] = 0


Attack = Gradient | Transfer | BlackBox  # noise of someone who asks a forward
Noise = Nothing | RandomSigns | Attack
