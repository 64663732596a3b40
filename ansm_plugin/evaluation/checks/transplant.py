"""The transplant test: what a module adds to a forgery, put where the forgery is not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cosine_similarity

from ansm_plugin.attacks.aims import TRUTH
from ansm_plugin.attacks.seeds import attack_generator
from ansm_plugin.data.photographs import packaged
from ansm_plugin.data.pixels import Pixels, to_tensor
from ansm_plugin.data.samples import Sample
from ansm_plugin.data.tiles import Tiling
from ansm_plugin.evaluation.config import EvaluationConfig
from ansm_plugin.evaluation.images import Batch
from ansm_plugin.evaluation.noise import Gradient, Nothing
from ansm_plugin.evaluation.plan import Cell
from ansm_plugin.evaluation.results import T0, T1
from ansm_plugin.evaluation.transplant import Values
from ansm_plugin.localizer.call import Forward, Perturb
from ansm_plugin.metrics.masks import f1_scores

IMAGES = 48  # forged ones that are looked at, at most
_GREY = 0.5
_SAME = 0.5  # intersection over union, from which on two masks lie in the same place


@dataclass(frozen=True, kw_only=True)
class TransplantTest:
    """What is looked through, and at which images of each batch.

    Attributes:
        bare: pixels -> mask logits of the bare localizer.
        perturbation: pixels -> what the module adds to them.
        tiling: larger images are cut to their fullest tile.
        config: gives the seed.
        noise: the attack whose images are looked at beside originals; None without T1.
        samples: all batches; authentic pictures are taken from those in memory.
    """

    bare: Forward
    perturbation: Perturb
    tiling: Tiling
    config: EvaluationConfig
    noise: Gradient | None
    samples: Sequence[Sample]

    @property
    def attack(self) -> str | None:
        """Name and radius of the attack."""
        return f"{self.noise.label}@{self.noise.eps_255:g}" if self.noise else None

    def sees(self, index: int) -> bool:
        """Return whether a batch is looked at: the first ones are, each for an equal share."""
        return index < IMAGES

    def of(self, batch: Batch, index: int) -> Values:
        """Return values for each chosen image of a batch; none where no image is forged."""
        images, masks, forged, *_ = batch.images(Cell(T0, Nothing(), ()))
        generator = attack_generator(self.config.seed, "transplant", 0, index)
        share = math.ceil(IMAGES / min(IMAGES, len(self.samples)))
        order = torch.randperm(int(forged.sum()), generator=generator)[:share]
        if not len(order):
            return {}
        chosen = order.sort().values.to(images.device)
        kinds = [images[forged][chosen], masks[forged][chosen]]
        if self.noise is not None:
            kinds.append(batch.images(Cell(T1, self.noise, ())).images[chosen])
        originals, true, *attacked = self._cut(kinds)
        authentic = self._authentic(images[~forged], originals, generator)
        with torch.no_grad():
            values = self._on_originals(originals, true, authentic)
            for noisy in attacked:
                values |= self._on_attacked(originals, noisy)
        return {name: found.cpu().double().tolist() for name, found in values.items()}

    def _cut(self, kinds: Sequence[Tensor]) -> list[Tensor]:
        """Return the tile of each image that its mask fills most; smaller images are whole."""
        windows = [self.tiling.fullest(mask[None]) for mask in kinds[1]]
        return [
            torch.stack([one[..., r, c] for one, (r, c) in zip(kind, windows, strict=True)])
            for kind in kinds
        ]

    def _authentic(self, given: Tensor, like: Tensor, generator: torch.Generator) -> Tensor:
        """Return an authentic picture for each image: of the samples, or a built-in photograph."""
        height, width = like.shape[-2:]
        given = given if len(given) else self._other_authentic(height, width)
        if len(given):
            index = torch.arange(len(like), device=given.device) % len(given)
            return given[index][..., :height, :width].to(like)
        crops = (_crop(i, height, width, generator) for i in range(len(like)))
        return torch.cat(list(crops)).to(like)

    def _other_authentic(self, height: int, width: int) -> Tensor:
        """Return authentic images of the first batch that has any, in memory and large enough."""
        in_memory: Sequence[Sample] = self.samples if isinstance(self.samples, list | tuple) else ()
        for images, masks, _ in in_memory:
            kept = ~masks.flatten(1).any(1)
            if bool(kept.any()) and images.shape[-2] >= height and images.shape[-1] >= width:
                return images[kept]
        return torch.empty(0)

    def _on_originals(self, images: Tensor, masks: Tensor, authentic: Tensor) -> dict[str, Tensor]:
        added = self.perturbation(images)
        grey = torch.full_like(images, _GREY)
        found = self._scores(masks)
        return {
            "f1": found(grey + added),
            "control_f1": found(grey + _another(added, masks)),
            "negated_f1": found(grey - added),
            "authentic_f1": found((authentic + added).clamp(0, 1)),
            "authentic_clean_f1": found(authentic),
            "rms_255": _rms_255(added),
            "detail_cosine": _cosine(added, _detail(images)),
        }

    def _on_attacked(self, images: Tensor, attacked: Tensor) -> dict[str, Tensor]:
        added, noise = self.perturbation(attacked), attacked - images
        return {
            "attacked_rms_255": _rms_255(added),
            "attacked_distance_255": _rms_255(noise),
            "suppressed_distance_255": _rms_255(noise + added),
            "noise_cosine": _cosine(added, -noise),
        }

    def _scores(self, masks: Tensor) -> Callable[[Tensor], Tensor]:
        true = masks.cpu()
        return lambda pixels: f1_scores(self.bare(pixels).cpu(), true)


def attacked_noise(cells: Sequence[Cell], config: EvaluationConfig) -> Gradient | None:
    """Return the first attack of T1 at its largest radius; None where T1 is not planned."""
    planned = [cell.noise for cell in cells if cell.threat == T1 and not cell.framed]
    plain = [n for n in planned if isinstance(n, Gradient) and n.aim == TRUTH]
    first = [n for n in plain if n.name == config.attacks[0]]
    return max(first, key=lambda noise: noise.eps_255, default=None)


def _another(added: Tensor, masks: Tensor) -> Tensor:
    """Return what is added to another image, one for each.

    Where there is no other, or its mask lies in the same place, what is added to the image itself,
    moved by half of its height and width.
    """
    height, width = added.shape[-2:]
    moved = added.roll((height // 2, width // 2), (2, 3))
    overlap = torch.minimum(masks, masks.roll(1, 0)).sum((1, 2, 3), keepdim=True)
    union = torch.maximum(masks, masks.roll(1, 0)).sum((1, 2, 3), keepdim=True)
    return torch.where(overlap > _SAME * union, moved, added.roll(1, 0))


def _detail(images: Tensor) -> Tensor:
    """Return what a mean of 3x3 takes away. Shape: `(B, 3, H, W)` -> the same."""
    return images - avg_pool2d(images, 3, 1, 1, count_include_pad=False)


def _rms_255(change: Tensor) -> Tensor:
    return 255 * change.square().mean((1, 2, 3)).sqrt()


def _cosine(one: Tensor, other: Tensor) -> Tensor:
    # Eps below any change that there is: of no change at all the cosine is 0.
    one, other = (change.flatten(1).cpu().double() for change in (one, other))
    return cosine_similarity(one, other, eps=1e-12)


@cache
def _photographs() -> list[Pixels]:
    return packaged("test")


def _crop(number: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """Return a crop of a built-in photograph, mirrored where it is too small, `(1, 3, H, W)`."""
    photographs = _photographs()
    photograph = photographs[number % len(photographs)]
    missing = [max(0, n - have) for n, have in zip((height, width), photograph.shape, strict=False)]
    padding = ((0, missing[0]), (0, missing[1]), (0, 0))
    whole = np.pad(photograph, padding, mode="symmetric") if any(missing) else photograph
    top, left = (
        int(torch.randint(0, have - n + 1, (), generator=generator))
        for n, have in zip((height, width), whole.shape, strict=False)
    )
    return to_tensor(whole[top : top + height, left : left + width])
