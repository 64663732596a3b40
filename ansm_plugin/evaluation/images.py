"""The images of one cell of the plan: original, noisy, attacked, and behind a channel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from ansm_plugin.attacks.aims import SWAP
from ansm_plugin.data.samples import Sample
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.noise import Attack, Gradient, Noise, Nothing, RandomSigns
from ansm_plugin.evaluation.parts import NoiseMaker, Part, needed
from ansm_plugin.evaluation.plan import Cell


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


class Batch:
    """One batch of samples under all attacks; noise that several cells share is made once.

    Args:
        sample: the batch, on the device of the forwards.
        index: its number.
        maker: makes the noise.
        shared: the noise whose images are kept, see `shared_noise`; by default all.
        first: number of its first image among all, which decides random starts.
    """

    def __init__(
        self,
        sample: Sample,
        index: int,
        maker: NoiseMaker,
        shared: frozenset[Noise] | None = None,
        first: int = 0,
    ) -> None:
        self._sample = sample
        self._maker = maker
        self._shared = shared
        self._numbers = range(first, first + len(sample.names))
        self._forged = sample.masks.flatten(1).any(1)
        chosen = sample[:2]
        if not bool(self._forged.all()):  # choosing copies
            chosen = (sample.images[self._forged], sample.masks[self._forged])
        self._part = Part("", *chosen, self._numbers_where(self._forged))
        self._source = sample.source_numbers(index)
        self._authentic: Part | None = None

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
        part = self._part_of(cell)
        wrong = part.wrong(self._maker.config.seed)
        if isinstance(cell.noise, Nothing):
            return Frames(part.images, wrong)
        return Frames(self._with(cell.noise, part), wrong)

    def lacks_partner(self, noise: Noise) -> bool:
        """Return whether noise is to be swapped, and there is one forged image alone."""
        swaps = isinstance(noise, Gradient) and noise.aim == SWAP
        return swaps and len(self._part.images) == 1

    def attacked_part(self, cell: Cell) -> Part | None:
        """Return the images of a cell that noise is made for; None where there are none."""
        if isinstance(cell.noise, Nothing) or (not cell.framed and self.lacks_partner(cell.noise)):
            return None
        part = self._part_of(cell)
        return part if len(part.images) else None

    def _part_of(self, cell: Cell) -> Part:
        return self._authentic_part() if cell.framed == "authentic" else self._part

    def _authentic_part(self) -> Part:
        if self._authentic is None:
            images, masks = (tensor[~self._forged] for tensor in self._sample[:2])
            numbers = self._numbers_where(~self._forged)
            self._authentic = Part("authentic", images, masks, numbers, self._part.masks)
        return self._authentic

    def _numbers_where(self, chosen: Tensor) -> list[int]:
        return [n for n, is_chosen in zip(self._numbers, chosen.tolist(), strict=True) if is_chosen]

    def _with(self, noise: RandomSigns | Attack, part: Part) -> Tensor:
        """Return the images of a part with this noise, made now if `make_together` did not."""
        if not len(part.images):
            return part.images
        self._maker.make(noise, [part])
        made = part.made[noise]
        if self._shared is not None:
            for once in {*part.made} - self._shared:
                del part.made[once]
        return made


def make_together(batches: Sequence[Batch], cell: Cell, maker: NoiseMaker) -> None:
    """Make the noise of a cell for several batches of images of one size at once."""
    parts = [part for batch in batches if (part := batch.attacked_part(cell)) is not None]
    if parts and not isinstance(cell.noise, Nothing):
        maker.make(cell.noise, parts)


def shared_noise(cells: Sequence[Cell]) -> frozenset[Noise]:
    """Return the noise that is needed more than once: only its images are worth keeping."""
    uses = Counter(noise for cell in cells for noise in needed(cell.noise))
    return frozenset(noise for noise, count in uses.items() if count > 1)
