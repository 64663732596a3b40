"""Images that are attacked together, and the noise that is made for them.

Every image draws from a generator of its own, by its number among all images, so that its noise is
the same however many are attacked at once: as many as fit into the memory of the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from ansm_plugin.attacks import Expectation, run_attack
from ansm_plugin.attacks.aims import SWAP, TRUTH, aimed, swapped, wrong_masks
from ansm_plugin.attacks.black_box import square_attack
from ansm_plugin.attacks.features import EncoderOnly
from ansm_plugin.attacks.seeds import Source, image_generators, integers
from ansm_plugin.data.augment import channel as random_channel
from ansm_plugin.data.tiles import Tiling
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
from ansm_plugin.localizer.call import Forward
from ansm_plugin.system.memory import Capacity

# Of images that are attacked together: an accelerator is busy with them, and what is kept of their
# noise stays below a few gigabytes. What does not fit at once is attacked in parts (`Capacity`).
PIXELS_TOGETHER = 8_000_000


@dataclass(eq=False)
class Part:
    """Images of a batch that are attacked together: its forged ones, or its authentic ones.

    Attributes:
        name: what tells its random starts from those of the other part.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}: the truth.
        numbers: of the images among all of the evaluation.
        others: masks that wrong ones are taken from; None: those of the other images here.
        made: noise whose images are kept.
    """

    name: str
    images: Tensor
    masks: Tensor
    numbers: Sequence[int]
    others: Tensor | None = None
    made: dict[Noise, Tensor] = field(default_factory=dict)
    _wrong: Tensor | None = None

    def wrong(self, seed: int) -> Tensor:
        """Return the wrong masks of the images, the same under every attack."""
        if self._wrong is None:
            generators = self.generators(seed, "wrong mask", 0)
            self._wrong = wrong_masks(self.masks, generators, self.others)
        return self._wrong

    def generators(self, seed: int, label: str, eps_255: float) -> list[torch.Generator]:
        """Return the source of each image for what is named."""
        name = f"{label}, {self.name}" if self.name else label
        return image_generators(seed, name, eps_255, self.numbers)


@dataclass(frozen=True, kw_only=True)
class NoiseMaker:
    """Makes the noise of parts of one or several batches of images of one size.

    Images larger than a tile are attacked tile by tile, as images of their own whose noise ends in
    the middle of their overlap.

    Attributes:
        forwards: what can be attacked, by name.
        config: the attacks.
        tiling: how large images are cut.
        capacity: how many images are attacked at once.
    """

    forwards: Mapping[str, Forward]
    config: EvaluationConfig
    tiling: Tiling
    capacity: Capacity = field(default_factory=Capacity)

    def make(self, noise: RandomSigns | Attack, parts: Sequence[Part]) -> None:
        """Put the images of the parts with this noise where it is kept, unless they are there."""
        missing = [part for part in parts if noise not in part.made]
        if isinstance(noise, RandomSigns):
            for part in missing:
                generators = part.generators(self.config.seed, noise.label, noise.eps_255)
                part.made[noise] = noisy(part.images, noise.eps_255, generators)
        elif isinstance(noise, Gradient) and noise.aim == SWAP:
            self._swap(noise, missing)
        elif missing:
            self._attack(noise, missing)

    def _swap(self, noise: Gradient, parts: Sequence[Part]) -> None:
        self.make(unswapped(noise), parts)
        for part in parts:
            attacked, radius = part.made[unswapped(noise)], noise.eps_255 / 255
            # The partners are drawn for the part, by its first image.
            first, *_ = part.generators(self.config.seed, noise.label, noise.eps_255)
            part.made[noise] = swapped(part.images, attacked, radius, noise.spec.norm, first)

    def _attack(self, noise: Attack, parts: Sequence[Part]) -> None:
        """Attack the images of all parts, as many at once as fit."""
        seed, kinds = self.config.seed, [_joined([part.images for part in parts])]
        kinds.append(_joined([self._told(noise, part) for part in parts]))
        if isinstance(noise, Gradient) and noise.start is not None:
            self.make(noise.start, parts)
            kinds.append(_joined([part.made[noise.start] for part in parts]))
        forward = self.forwards[noise.through]

        def attacked(rows: slice) -> Tensor:
            named = [part.generators(seed, noise.label, noise.eps_255) for part in parts]
            source = [own for each in named for own in each][rows]
            tiles = (kind[rows] for kind in kinds)
            return self.tiling.stitched(lambda *t: _attacked(forward, noise, source, *t), *tiles)

        count = len(kinds[0])
        made = self.capacity.run(attacked, count, (f"attack {noise.through}", kinds[0].shape[1:]))
        sizes = [len(part.images) for part in parts]
        for part, images in zip(parts, torch.split(made, sizes), strict=True):
            part.made[noise] = images

    def _told(self, noise: Attack, part: Part) -> Tensor:
        """Return the masks that the attacker takes for the truth, or wants to be found."""
        knows = not isinstance(noise, Gradient) or noise.aim == TRUTH
        return part.masks if knows else part.wrong(self.config.seed)


def needed(noise: Noise) -> list[Noise]:
    """Return a noise and those that it is made of; none where there is nothing to make."""
    if isinstance(noise, Nothing):
        return []
    found: list[Noise] = [noise]
    if isinstance(noise, Gradient) and noise.start is not None:
        found.append(noise.start)
    if isinstance(noise, Gradient) and noise.aim == SWAP:
        found.append(unswapped(noise))
    return found


def unswapped(noise: Gradient) -> Gradient:
    """Return the noise that is swapped: that of the same attack, told the truth."""
    return replace(noise, aim=TRUTH)


def _attacked(
    forward: Forward,
    noise: Attack,
    source: Source,
    images: Tensor,
    masks: Tensor,
    start: Tensor | None = None,
) -> Tensor:
    """Return the images of one tile under an attack."""
    radius = noise.eps_255 / 255
    match noise:
        case BlackBox(queries=queries):
            return square_attack(forward, images, masks, radius, queries=queries, generator=source)
        case Transfer(spec=spec):
            # Who has the encoder alone drives its features away from those of each original.
            through = forward.against(images) if isinstance(forward, EncoderOnly) else forward
            return run_attack(through, images, masks, radius, spec, generator=source)
        case Gradient(spec=spec, draws=draws, aim=aim):
            expectation = Expectation(random_channel, draws) if draws else None
            return run_attack(
                forward,
                images,
                masks,
                radius,
                aimed(spec, aim),
                generator=source,
                start=start,
                expectation=expectation,
            )


def noisy(images: Tensor, eps_255: float, source: Source) -> Tensor:
    """Return images with a random sign of `eps_255` grey levels at each value, in [0, 1].

    Shape: `(B, 3, H, W)` in [0, 1] -> the same.
    """
    # Bytes, and in place from there: eight bytes for each value of a photograph are too many.
    drawn = integers(2, images.shape, source, torch.uint8)
    noise = drawn.to(images.device, images.dtype).mul_(2).sub_(1).mul_(eps_255 / 255)
    return noise.add_(images).clamp_(0, 1)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))  # joining copies
