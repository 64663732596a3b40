"""Whether a defence overfits to the weak attacks of its training, on crops that are left out.

Catastrophic overfitting (Wong et al., ICLR 2020): the attack of the training, of few steps,
succeeds no more, while a longer one does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import nn

from ansm_plugin.attacks import AttackSpec, run_attack
from ansm_plugin.errors import ConfigError, TrainingError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.localizer.modes import frozen_eval
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.recipes.stage import Pairs


@dataclass(frozen=True, kw_only=True)
class Checks:
    """When and how the attack of a training is compared with a longer one.

    Attributes:
        every: steps of the training between two checks; the last step has one too.
        steps: gradient steps of the longer attack.
        images: crops that are checked, the last ones; training leaves them out.
        limit: training stops where the longer attack takes this much more F1.
    """

    every: int = 200
    steps: int = 20
    images: int = 16
    limit: float = 0.4

    def __post_init__(self) -> None:
        """Raise ConfigError for numbers out of range."""
        for name in ("every", "steps", "images"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if not 0 <= self.limit <= 1:
            raise ConfigError(f"limit is {self.limit}; allowed: 0 to 1.")


def hold_out(pairs: Pairs, count: int) -> tuple[Pairs, Pairs]:
    """Return the pairs without the last `count`, and these.

    Raises:
        ConfigError: none would be left to train on.
    """
    if len(pairs.masks) <= count:
        raise ConfigError(
            f"{len(pairs.masks)} crops are too few to check {count} of them; raise data.count or "
            "lower checks.images."
        )
    return Pairs(*(t[:-count] for t in pairs)), Pairs(*(t[-count:] for t in pairs))


class Watch:
    """Compares the attack of the training with a longer one.

    Args:
        knowing: what both attack.
        model: the module behind it.
        held: the crops, which training leaves out; the forged ones among them are scored.
        attack: of the training, at its largest radius.
        eps: that radius, in pixel units.
        checks: when, and what is allowed.
    """

    def __init__(
        self,
        knowing: Forward,
        model: nn.Module,
        held: Pairs,
        *,
        attack: AttackSpec,
        eps: float,
        checks: Checks,
    ) -> None:
        self._knowing, self._model, self._attack = knowing, model, attack
        self._eps, self._checks = eps, checks
        self._images, self._masks = held.originals.float().div(255), held.masks.float()
        forged = self._masks.flatten(1).any(1)
        if 0 < int(forged.sum()) < len(forged):  # F1 says nothing of authentic crops
            self._images, self._masks = self._images[forged], self._masks[forged]
        self._last: dict[str, float] = {}

    def look(self, done: int, steps: int) -> dict[str, float]:
        """Return the F1 that both attacks leave after `done` of `steps` steps, or did lately.

        Raises:
            TrainingError: the longer attack leaves much less.
        """
        checks = self._checks
        if done % checks.every == 0 or done == steps - 1:
            short = self.f1(self._attack)
            long = self.f1(replace(self._attack, steps=checks.steps))
            self._last = {"f1_attacked": short, "f1_check": long}
            if short - long > checks.limit:
                raise TrainingError(
                    f"after {done} steps the attack of the training leaves F1 {short:.2f}, the "
                    f"same with {checks.steps} steps {long:.2f}, more than checks.limit "
                    f"{checks.limit:g} apart: the defence overfits to weak attacks. Raise "
                    "attack_steps, or lower learning_rate or eps_255."
                )
        return self._last

    def f1(self, attack: AttackSpec) -> float:
        """Return what an attack leaves on the crops, from the same random start each time."""
        generator = torch.Generator().manual_seed(0)
        with frozen_eval(self._model):
            attacked = run_attack(
                self._knowing, self._images, self._masks, self._eps, attack, generator=generator
            )
            with torch.no_grad():
                return float(f1_scores(self._knowing(attacked), self._masks).mean())
