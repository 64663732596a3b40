"""The images of one cell of the plan: original, noisy, attacked, and behind a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import Expectation, run_attack
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.features import EncoderOnly
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.augment import channel as random_channel
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.noise import (
    Attack,
    BlackBox,
    Gradient,
    Noise,
    Nothing,
    RandomSigns,
    Transfer,
)
from ansm_plugin.evaluation.plan import Cell
from ansm_plugin.localizer.call import Forward


class Images(NamedTuple):
    """What is scored: images, masks, which of them count as forged `(B,)`, and what they were."""

    images: Tensor
    masks: Tensor
    forged: Tensor
    originals: Tensor | None = None


class Batch:
    """One batch of samples under all attacks; noise that several cells share is made once.

    Images larger than a tile are attacked tile by tile, as images of their own whose noise ends in
    the middle of their overlap.

    Args:
        sample: the batch, on the device of the forwards.
        index: its number, which decides random starts.
        forwards: what can be attacked, by name.
        config: the attacks.
        tiling: how large images are cut.
        shared: the noise whose images are kept, see `shared_noise`; by default all.
    """

    def __init__(
        self,
        sample: Sample,
        index: int,
        forwards: Mapping[str, Forward],
        config: EvaluationConfig,
        tiling: Tiling | None = None,
        shared: frozenset[Noise] | None = None,
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
        self._made: dict[Noise, Tensor] = {}

    def images(self, cell: Cell) -> Images:
        """Return the images of a cell; without noise authentic ones are among them."""
        if isinstance(cell.noise, Nothing):
            found = Images(self._sample.images, self._sample.masks, self._forged)
        else:
            is_forged = self._forged[self._forged]
            changed = self._with(cell.noise)
            found = Images(changed, self._forged_masks, is_forged, self._forged_images)
        if not cell.channel or not len(found.images):
            return found
        passed = channel(cell.channel)(found.images, found.masks)
        # A crop can cut the whole forged region away; such an image is scored no more.
        seen = passed.masks.flatten(1).any(1) | ~found.forged
        return Images(passed.images[seen], passed.masks[seen], found.forged[seen])

    def _with(self, noise: RandomSigns | Attack) -> Tensor:
        """Return the forged images with this noise."""
        if noise in self._made:
            return self._made[noise]
        made = self._make(noise)
        if self._shared is None or noise in self._shared:
            self._made[noise] = made
        return made

    def _make(self, noise: RandomSigns | Attack) -> Tensor:
        images = self._forged_images
        if not len(images):
            return images
        seed = self._config.seed
        generator = attack_generator(seed, noise.label, noise.eps_255, self._index)
        if isinstance(noise, RandomSigns):
            return noisy(images, noise.eps_255, generator)
        parts = [images, self._forged_masks]
        if isinstance(noise, Gradient) and noise.start is not None:
            parts.append(self._with(noise.start))
        forward = self._forwards[noise.through]
        return self._tiling.stitched(
            lambda *tile: _attacked(forward, noise, generator, *tile), *parts
        )


def _attacked(
    forward: Forward,
    noise: Attack,
    generator: torch.Generator,
    images: Tensor,
    masks: Tensor,
    start: Tensor | None = None,
) -> Tensor:
    """Return the images of one tile under an attack."""
    radius = noise.eps_255 / 255
    match noise:
        case BlackBox(queries=queries):
            return square_attack(
                forward, images, masks, radius, queries=queries, generator=generator
            )
        case Transfer(spec=spec):
            # Who has the encoder alone drives its features away from those of each original.
            through = forward.against(images) if isinstance(forward, EncoderOnly) else forward
            return run_attack(through, images, masks, radius, spec, generator=generator)
        case Gradient(spec=spec, draws=draws):
            expectation = Expectation(random_channel, draws) if draws else None
            return run_attack(
                forward,
                images,
                masks,
                radius,
                spec,
                generator=generator,
                start=start,
                expectation=expectation,
            )


def shared_noise(cells: Sequence[Cell]) -> frozenset[Noise]:
    """Return the noise that is needed more than once: only its images are worth keeping."""
    uses = Counter(noise for cell in cells for noise in _needed(cell.noise))
    return frozenset(noise for noise, count in uses.items() if count > 1)


def _needed(noise: Noise) -> Iterator[Noise]:
    if not isinstance(noise, Nothing):
        yield noise
    if isinstance(noise, Gradient) and noise.start is not None:
        yield noise.start


def noisy(images: Tensor, eps_255: float, generator: torch.Generator) -> Tensor:
    """Return images with a random sign of `eps_255` grey levels at each value, in [0, 1].

    Shape: `(B, 3, H, W)` in [0, 1] -> the same.
    """
    # Bytes, and in place from there: eight bytes for each value of a photograph are too many.
    drawn = torch.randint(0, 2, images.shape, generator=generator, dtype=torch.uint8)
    noise = drawn.to(images.device, images.dtype).mul_(2).sub_(1).mul_(eps_255 / 255)
    return noise.add_(images).clamp_(0, 1)
