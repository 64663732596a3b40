"""The work of `attack`."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.api.given import Images, Masks, samples_of, suited
from ansm_plugin.api.models import Device, Model, bare_or_defended
from ansm_plugin.attacks import AttackSpec, attack_spec, run_attack
from ansm_plugin.attacks.foreign import name_of
from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.seeds import image_generators
from ansm_plugin.attacks.spec import ForeignAttack
from ansm_plugin.data.samples import Sample
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.localizer.call import Forward, mask_forward
from ansm_plugin.localizer.gradient import require_gradient
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.system.progress import Progress

AttackLike = str | AttackSpec | Callable[..., Tensor]  # the last as `foreign.AttackFunction`


class Choice(NamedTuple):
    """An attack with its radius in grey levels and its seed."""

    attack: AttackLike
    eps_255: float
    seed: int


def attacked(
    model: Model,
    images: Images,
    masks: Masks,
    choice: Choice,
    progress: Progress,
    device: Device,
) -> list[Sample]:
    """Return batches of attacked images: see `calls.attack`."""
    name, spec = _named(choice.attack)
    require_radii_255("eps_255", choice.eps_255)
    samples = samples_of(*suited(model, images, masks), progress)
    done = []
    with bare_or_defended(model, device) as (module, how):
        if not isinstance(spec, ForeignAttack):  # a function of the user's own may need none
            bare = module.localizer if isinstance(module, DefendedLocalizer) else module
            require_gradient(bare, how)
        search = _Search(mask_forward(module, how), device_of(module), name, spec, choice)
        first = 0
        for index in range(len(samples)):
            progress("attack", index, len(samples), {})
            done.append(search.batch(samples[index], first))
            first += len(done[-1].images)
        progress("attack", len(samples), len(samples), {})
    return done


class _Search(NamedTuple):
    """How batches are attacked: through what, where, and with what."""

    forward: Forward
    device: torch.device
    name: str
    spec: AttackSpec
    choice: Choice

    def batch(self, sample: Sample, first: int) -> Sample:
        """Return a batch, attacked; the numbers of its images, from `first` on, decide starts."""
        images, masks = (part.to(self.device) for part in sample[:2])
        _, eps_255, seed = self.choice
        numbers = range(first, first + len(images))
        generators = image_generators(seed, self.name, eps_255, numbers)
        found = run_attack(
            self.forward, images, masks, eps_255 / 255, self.spec, generator=generators
        )
        return sample._replace(images=found)


def _named(attack: AttackLike) -> tuple[str, AttackSpec]:
    """Return an attack with the name that decides its random starts."""
    if isinstance(attack, AttackSpec):
        return str(attack), attack
    name = attack if isinstance(attack, str) else name_of(attack)
    return name, attack_spec(name)
