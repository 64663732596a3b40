"""The images of one cell of the plan: original, noisy, attacked, and behind a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import Expectation, run_attack
from ansm_plugin.attacks.aims import SWAP, TRUTH, aimed, swapped, wrong_masks
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
    """What is scored.

    Attributes:
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        forged: which of them count as forged, `(B,)` bool.
        source: `(B,)`, equal where images come from one photograph, on the CPU.
        originals: the images before the attack, where no channel changed them after it.
    """

    images: Tensor
    masks: Tensor
    forged: Tensor
    source: Tensor
    originals: Tensor | None = None


class Frames(NamedTuple):
    """What is scored against wrong masks: images `(B, 3, H, W)`, and a mask each."""

    images: Tensor
    wrong: Tensor


class _Part:
    """Images of a batch that are attacked together: its forged ones, or its authentic ones.

    Args:
        name: what tells its random starts from those of the other part.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}: the truth.
    """

    def __init__(self, name: str, images: Tensor, masks: Tensor) -> None:
        self.name = name
        self.images = images
        self.masks = masks
        self.wrong: Tensor | None = None  # until an attack asks
        self.made: dict[Noise, Tensor] = {}


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
        self._part = _Part("", *chosen)
        self._source = sample.source_numbers(index)
        self._authentic: _Part | None = None

    @property
    def forged_source(self) -> Tensor:
        """Numbers of the photographs that forged images come from, `(B,)`."""
        return self._source[self._forged.cpu()]

    def images(self, cell: Cell) -> Images:
        """Return the images of a cell; without noise authentic ones are among them."""
        if isinstance(cell.noise, Nothing):
            found = Images(*self._sample[:2], self._forged, self._source)
        else:
            is_forged, part = self._forged[self._forged], self._part
            attacked = self._with(cell.noise, part)
            found = Images(attacked, part.masks, is_forged, self.forged_source, part.images)
        if not cell.channel or not len(found.images):
            return found
        passed = channel(cell.channel)(found.images, found.masks)
        # A crop can cut the whole forged region away; such an image is scored no more.
        seen = passed.masks.flatten(1).any(1) | ~found.forged
        source = found.source[seen.cpu()]
        return Images(passed.images[seen], passed.masks[seen], found.forged[seen], source)

    def frames(self, cell: Cell) -> Frames:
        """Return the forged or the authentic images of a framed cell, and their wrong masks."""
        part = self._part if cell.framed == "forged" else self._authentic_part()
        wrong = self._wrong(part)
        if isinstance(cell.noise, Nothing):
            return Frames(part.images, wrong)
        return Frames(self._with(cell.noise, part), wrong)

    def lacks_partner(self, noise: Noise) -> bool:
        """Return whether noise is to be swapped, and there is one forged image alone."""
        swaps = isinstance(noise, Gradient) and noise.aim == SWAP
        return swaps and len(self._part.images) == 1

    def _authentic_part(self) -> _Part:
        if self._authentic is None:
            images, masks = (tensor[~self._forged] for tensor in self._sample[:2])
            self._authentic = _Part("authentic", images, masks)
        return self._authentic

    def _wrong(self, part: _Part) -> Tensor:
        """Return the wrong masks of a part, the same under every attack."""
        if part.wrong is None:
            generator = self._generator("wrong mask", 0, part)
            others = None if part is self._part else self._part.masks
            part.wrong = wrong_masks(part.masks, generator, others)
        return part.wrong

    def _generator(self, name: str, eps_255: float, part: _Part) -> torch.Generator:
        label = f"{name}, {part.name}" if part.name else name
        return attack_generator(self._config.seed, label, eps_255, self._index)

    def _with(self, noise: RandomSigns | Attack, part: _Part) -> Tensor:
        """Return the images of a part with this noise."""
        if noise in part.made:
            return part.made[noise]
        made = self._make(noise, part)
        if self._shared is None or noise in self._shared:
            part.made[noise] = made
        return made

    def _make(self, noise: RandomSigns | Attack, part: _Part) -> Tensor:
        images = part.images
        if not len(images):
            return images
        generator = self._generator(noise.label, noise.eps_255, part)
        if isinstance(noise, RandomSigns):
            return noisy(images, noise.eps_255, generator)
        if isinstance(noise, Gradient) and noise.aim == SWAP:
            attacked, radius = self._with(_unswapped(noise), part), noise.eps_255 / 255
            return swapped(images, attacked, radius, noise.spec.norm, generator)
        tiled = [images, self._told(noise, part)]
        if isinstance(noise, Gradient) and noise.start is not None:
            tiled.append(self._with(noise.start, part))
        forward = self._forwards[noise.through]
        return self._tiling.stitched(
            lambda *tile: _attacked(forward, noise, generator, *tile), *tiled
        )

    def _told(self, noise: Attack, part: _Part) -> Tensor:
        """Return the masks that the attacker takes for the truth, or wants to be found."""
        knows = not isinstance(noise, Gradient) or noise.aim == TRUTH
        return part.masks if knows else self._wrong(part)


def _unswapped(noise: Gradient) -> Gradient:
    """Return the noise that is swapped: that of the same attack, told the truth."""
    return replace(noise, aim=TRUTH)


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
        case Gradient(spec=spec, draws=draws, aim=aim):
            expectation = Expectation(random_channel, draws) if draws else None
            return run_attack(
                forward,
                images,
                masks,
                radius,
                aimed(spec, aim),
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
    if isinstance(noise, Gradient) and noise.aim == SWAP:
        yield _unswapped(noise)


def noisy(images: Tensor, eps_255: float, generator: torch.Generator) -> Tensor:
    """Return images with a random sign of `eps_255` grey levels at each value, in [0, 1].

    Shape: `(B, 3, H, W)` in [0, 1] -> the same.
    """
    # Bytes, and in place from there: eight bytes for each value of a photograph are too many.
    drawn = torch.randint(0, 2, images.shape, generator=generator, dtype=torch.uint8)
    noise = drawn.to(images.device, images.dtype).mul_(2).sub_(1).mul_(eps_255 / 255)
    return noise.add_(images).clamp_(0, 1)
