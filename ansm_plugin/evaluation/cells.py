"""The images of one cell of the plan: original, noisy, attacked, and behind a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import Forward, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.features import EncoderOnly
from ansm_plugin.augment import channel as random_channel
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.plan import Cell, EvaluationConfig, Sample, attack_generator


class Images(NamedTuple):
    """What is scored: images, masks, which of them count as forged `(B,)`, and what they were."""

    images: Tensor
    masks: Tensor
    forged: Tensor
    originals: Tensor | None = None


class Batch:
    """One batch of samples under all attacks; an attack that several cells share runs once.

    Args:
        sample: the batch, on the device of the forwards.
        index: its number, which decides random starts.
        forwards: what can be attacked, by name.
        config: the attacks.
    """

    def __init__(
        self, sample: Sample, index: int, forwards: Mapping[str, Forward], config: EvaluationConfig
    ) -> None:
        self._sample = sample
        self._index = index
        self._forwards = forwards
        self._config = config
        self._forged = sample.masks.flatten(1).any(1)
        self._attacked: dict[tuple[str, str, float], Tensor] = {}

    def images(self, cell: Cell) -> Images:
        """Return the images of a cell; without attack authentic ones are among them."""
        if not cell.eps_255:
            found = Images(self._sample.images, self._sample.masks, self._forged)
        else:
            masks = self._sample.masks[self._forged]
            originals = self._sample.images[self._forged]
            found = Images(self._under_attack(cell), masks, self._forged[self._forged], originals)
        if not cell.channel or not len(found.images):
            return found
        passed = channel(cell.channel)(found.images, found.masks)
        # A crop can cut the whole forged region away; such an image is scored no more.
        seen = passed.masks.flatten(1).any(1) | ~found.forged
        return Images(passed.images[seen], passed.masks[seen], found.forged[seen])

    def _under_attack(self, cell: Cell) -> Tensor:
        name = cell.seeded_by or cell.attack
        key = (cell.through, name, cell.eps_255)
        if key not in self._attacked:
            self._attacked[key] = self._attack(cell, name)
        return self._attacked[key]

    def _attack(self, cell: Cell, name: str) -> Tensor:
        images, masks = (t[self._forged] for t in self._sample[:2])
        if not len(images):
            return images
        generator = attack_generator(self._config.seed, name, cell.eps_255, self._index)
        radius = cell.eps_255 / 255
        if cell.spec is not None:
            through = self._forwards[cell.through]
            return run_attack(
                through.against(images) if isinstance(through, EncoderOnly) else through,
                images,
                masks,
                radius,
                cell.spec,
                generator=generator,
                transform=random_channel if cell.draws else None,
                draws=max(1, cell.draws),
                start=self._start(cell),
            )
        if cell.threat == "T6":
            return square_attack(
                self._forwards[cell.through],
                images,
                masks,
                radius,
                queries=self._config.queries,
                generator=generator,
            ).attacked
        return noisy(images, cell.eps_255, generator)

    def _start(self, cell: Cell) -> Tensor | None:
        """Return the same attack against another forward, where a cell starts from that."""
        if not cell.start:
            return None
        return self._under_attack(
            cell._replace(through=cell.start, attack=cell.attack.partition(",")[0], start="")
        )


def noisy(images: Tensor, eps_255: float, generator: torch.Generator) -> Tensor:
    """Return images with a random sign of `eps_255` grey levels at each value, in [0, 1]."""
    sign = torch.randint(0, 2, images.shape, generator=generator).to(images) * 2 - 1
    return (images + eps_255 / 255 * sign).clamp(0, 1)
