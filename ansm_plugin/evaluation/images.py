"""The images of one cell of the plan: original, noisy, attacked, and behind a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import Forward, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.features import EncoderOnly
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.augment import channel as random_channel
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.plan import Cell

Key = tuple[str, str, float]  # of attacked images: through, attack, radius


class Images(NamedTuple):
    """What is scored: images, masks, which of them count as forged `(B,)`, and what they were."""

    images: Tensor
    masks: Tensor
    forged: Tensor
    originals: Tensor | None = None


class Batch:
    """One batch of samples under all attacks; an attack that several cells share runs once.

    Images larger than a tile are attacked tile by tile, as images of their own whose noise ends in
    the middle of their overlap.

    Args:
        sample: the batch, on the device of the forwards.
        index: its number, which decides random starts.
        forwards: what can be attacked, by name.
        config: the attacks.
        tiling: how large images are cut.
        shared: the attacks whose images are kept, see `shared_attacks`; by default all.
    """

    def __init__(
        self,
        sample: Sample,
        index: int,
        forwards: Mapping[str, Forward],
        config: EvaluationConfig,
        tiling: Tiling | None = None,
        shared: frozenset[Key] | None = None,
    ) -> None:
        self._sample = sample
        self._index = index
        self._forwards = forwards
        self._config = config
        self._tiling = tiling or Tiling(config.tile)
        self._shared = shared
        self._forged = sample.masks.flatten(1).any(1)
        chosen = sample[:2]
        if not bool(self._forged.all()):  # choosing copies
            chosen = (sample.images[self._forged], sample.masks[self._forged])
        self._forged_images, self._forged_masks = chosen
        self._attacked: dict[Key, Tensor] = {}

    def images(self, cell: Cell) -> Images:
        """Return the images of a cell; without attack authentic ones are among them."""
        if not cell.eps_255:
            found = Images(self._sample.images, self._sample.masks, self._forged)
        else:
            is_forged = self._forged[self._forged]
            attacked = self._under_attack(cell)
            found = Images(attacked, self._forged_masks, is_forged, self._forged_images)
        if not cell.channel or not len(found.images):
            return found
        passed = channel(cell.channel)(found.images, found.masks)
        # A crop can cut the whole forged region away; such an image is scored no more.
        seen = passed.masks.flatten(1).any(1) | ~found.forged
        return Images(passed.images[seen], passed.masks[seen], found.forged[seen])

    def _under_attack(self, cell: Cell) -> Tensor:
        key = _key(cell)
        if key in self._attacked:
            return self._attacked[key]
        attacked = self._attack(cell)
        if self._shared is None or key in self._shared:
            self._attacked[key] = attacked
        return attacked

    def _attack(self, cell: Cell) -> Tensor:
        images, masks = self._forged_images, self._forged_masks
        if not len(images):
            return images
        _, name, eps = _key(cell)
        generator = attack_generator(self._config.seed, name, eps, self._index)
        if cell.spec is None and cell.threat != "T6":
            return noisy(images, cell.eps_255, generator)
        start = self._start(cell)
        return self._tiling.stitched(
            lambda *parts: self._attack_tile(cell, generator, *parts),
            images,
            masks,
            *(() if start is None else (start,)),
        )

    def _attack_tile(
        self,
        cell: Cell,
        generator: torch.Generator,
        images: Tensor,
        masks: Tensor,
        start: Tensor | None = None,
    ) -> Tensor:
        through, radius = self._forwards[cell.through], cell.eps_255 / 255
        if cell.spec is None:
            queries = self._config.queries
            return square_attack(
                through, images, masks, radius, queries=queries, generator=generator
            ).attacked
        return run_attack(
            through.against(images) if isinstance(through, EncoderOnly) else through,
            images,
            masks,
            radius,
            cell.spec,
            generator=generator,
            transform=random_channel if cell.draws else None,
            draws=max(1, cell.draws),
            start=start,
        )

    def _start(self, cell: Cell) -> Tensor | None:
        """Return the same attack against another forward, where a cell starts from that."""
        if not cell.start:
            return None
        return self._under_attack(_first(cell))


def shared_attacks(cells: Sequence[Cell]) -> frozenset[Key]:
    """Return the attacks that more than one cell needs: only their images are worth keeping."""
    uses = Counter(key for cell in cells for key in _needed(cell))
    return frozenset(key for key, count in uses.items() if count > 1)


def _needed(cell: Cell) -> Iterator[Key]:
    if cell.eps_255:
        yield _key(cell)
    if cell.start:
        yield _key(_first(cell))


def _key(cell: Cell) -> Key:
    return cell.through, cell.seeded_by or cell.attack, cell.eps_255


def _first(cell: Cell) -> Cell:
    """Return the cell whose attacked images are the start of this one's attack."""
    return cell._replace(through=cell.start, attack=cell.attack.partition(",")[0], start="")


def noisy(images: Tensor, eps_255: float, generator: torch.Generator) -> Tensor:
    """Return images with a random sign of `eps_255` grey levels at each value, in [0, 1]."""
    # Bytes, and in place from there: eight bytes for each value of a photograph are too many.
    drawn = torch.randint(0, 2, images.shape, generator=generator, dtype=torch.uint8)
    noise = drawn.to(images.device, images.dtype).mul_(2).sub_(1).mul_(eps_255 / 255)
    return noise.add_(images).clamp_(0, 1)
