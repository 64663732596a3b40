"""What an attack is told: the true mask, which only the forger knows, or a wrong one.

A defence that reads the mask out of the noise looks like a rescue as long as every noise is made
with the true one. So others are made with a wrong mask W, which everybody can draw:

- `decoy`: the same attack, told W; it goes away from W.
- `mark`: towards W, by the objective's `towards`.
- `swap`: noise that was made for another image, with that one's own truth.

Masks are `(B, 1, H, W)` in {0, 1}.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.attacks.ball import Norm, ball
from ansm_plugin.attacks.objectives import towards
from ansm_plugin.attacks.seeds import each
from ansm_plugin.attacks.spec import AttackSpec
from ansm_plugin.data.forgeries import region
from ansm_plugin.errors import ImageError

Aim = Literal["truth", "decoy", "mark", "swap"]
TRUTH: Aim = "truth"
DECOY: Aim = "decoy"
MARK: Aim = "mark"
SWAP: Aim = "swap"
AIMS: tuple[Aim, ...] = (DECOY, MARK, SWAP)  # of who does not know the truth

_MOST_SHARED = 0.1  # of the smaller of two masks, up to which they hardly overlap
_MOST_AREA = 0.5  # of an image, that a wrong mask covers: more is no region to speak of
_AREAS = (0.1, 0.4)  # where there is no truth to go by: those of synthetic forgeries
_BLOBS = 8  # that are drawn, for the one that overlaps the truth least
_SIDE = 512  # pixels, above which a blob is made smaller and enlarged


def aimed(spec: AttackSpec, aim: Aim) -> AttackSpec:
    """Return the attack that does to the mask it is told what the aim says.

    Raises:
        ConfigError: `mark` with an objective that is told no mask.
    """
    return replace(spec, objective=towards(spec.objective)) if aim == MARK else spec


def wrong_masks(
    truths: Tensor,
    generator: torch.Generator | Sequence[torch.Generator],
    others: Tensor | None = None,
) -> Tensor:
    """Return a mask for each image that hardly overlaps its true one, and is never empty.

    Half of the images, which the generator draws, get the mirrored mask of another image: the one
    that overlaps their own least, if it hardly does. The rest get a blob of the area of their own
    mask; an authentic image's is the area of another mask. No mask covers more than half.

    Args:
        truths: `(B, 1, H, W)` in {0, 1}, on any device; an authentic image's is empty.
        generator: of the CPU; it and the masks decide the result. Of a list each image draws from
            its own, also whether it is of the half.
        others: `(N, 1, H, W)`: masks of other images to take from; by default those of `truths`.
    """
    own = truths.detach().cpu() > 0
    pool = own if others is None else others.detach().cpu() > 0
    borrows = _half(len(own), generator)
    found = []
    for index, (truth, draws) in enumerate(zip(own, each(len(own), generator), strict=True)):
        rest = [j for j in range(len(pool)) if others is not None or j != index]
        order = torch.randperm(len(rest), generator=draws).tolist()
        candidates = [pool[rest[j]] for j in order if _is_region(pool[rest[j]])]
        wrong = _least([mask.flip(-1) for mask in candidates], truth) if borrows[index] else None
        if wrong is None or _shared(wrong, truth) > _MOST_SHARED:
            wrong = _blob(truth, candidates, draws)
        found.append(wrong)
    return torch.stack(found).to(truths) if found else torch.zeros_like(truths)


def swapped(
    images: Tensor, attacked: Tensor, eps: float, norm: Norm, generator: torch.Generator
) -> Tensor:
    """Return images with the noise of one another, rounded to 8 bit and within the ball.

    Args:
        images: `(B, 3, H, W)` in [0, 1], two or more.
        attacked: the same under an attack.
        eps: radius of the attack in pixel units.
        norm: of its ball.
        generator: decides who gets whose; nobody gets his own.

    Raises:
        ImageError: a single image, whose noise can be that of nobody else.
    """
    if len(images) < 2:
        raise ImageError(f"noise of {len(images)} images cannot be swapped; it takes two or more.")
    shift = int(torch.randint(1, len(images), (), generator=generator))
    within = ball(images, eps, norm)
    return within.round(within.project(within.images + (attacked - images).roll(shift, 0)))


def _half(count: int, generator: torch.Generator | Sequence[torch.Generator]) -> list[bool]:
    """Return which of `count` images are drawn: half of them, or each by the toss of its coin."""
    if isinstance(generator, torch.Generator):
        return [i < count // 2 for i in torch.randperm(count, generator=generator).tolist()]
    return [bool(torch.randint(2, (), generator=own)) for own in each(count, generator)]


def _is_region(mask: Tensor) -> bool:
    return 0 < float(mask.double().mean()) <= _MOST_AREA


def _shared(wrong: Tensor, truth: Tensor) -> float:
    """Return the share of the smaller of two masks that lies in the other; 0 without a truth."""
    smaller = min(int(wrong.sum()), int(truth.sum()))
    return int((wrong & truth).sum()) / smaller if smaller else 0.0


def _least(masks: list[Tensor], truth: Tensor) -> Tensor | None:
    """Return the mask that overlaps the truth least, the first of equal ones."""
    return min(masks, key=lambda mask: _shared(mask, truth), default=None)


def _blob(truth: Tensor, others: list[Tensor], generator: torch.Generator | None) -> Tensor:
    """Return a blob `(1, H, W)` of the truth's area, of several that which overlaps it least."""
    height, width = truth.shape[-2:]
    side = min(_SIDE, max(height, width))
    area = float(truth.double().mean())
    if not area:
        drawn = _AREAS[0] + (_AREAS[1] - _AREAS[0]) * float(torch.rand((), generator=generator))
        area = float(others[0].double().mean()) if others else drawn
    # A truth of most of the image leaves little room beside it.
    area = min(area, _MOST_AREA, max(1 - area, 1 / (height * width)))
    rng = np.random.default_rng(int(torch.randint(2**31, (), generator=generator)))
    blobs = [torch.from_numpy(region(side, (area, area), rng)) for _ in range(_BLOBS)]
    scaled = [functional.interpolate(b[None, None].float(), (height, width)) for b in blobs]
    # Scaled to an image of a few pixels, it can be none of them or all.
    found = _least([mask[0] > 0 for mask in scaled if _is_region(mask)], truth)
    return _pixel(truth) if found is None else found


def _pixel(truth: Tensor) -> Tensor:
    """Return the first pixel that is not forged, or the first of all: an area too small to draw."""
    alone = torch.zeros_like(truth)
    alone.view(-1)[int((~truth).flatten().int().argmax())] = True
    return alone
