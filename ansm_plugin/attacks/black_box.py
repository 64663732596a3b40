"""An attack that sees the localizer's scores and no gradient.

One query is one forward pass of one image. Whether it beats an attack by gradient tells whether a
defence only hides its gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ansm_plugin.attacks.answers import Answers
from ansm_plugin.attacks.ball import Ball, ball
from ansm_plugin.attacks.door import attackable, require_forgeries, require_generator
from ansm_plugin.attacks.objectives import objective as checked
from ansm_plugin.attacks.objectives import value
from ansm_plugin.attacks.seeds import Source, each, integers
from ansm_plugin.errors import ConfigError
from ansm_plugin.localizer.call import Forward
from ansm_plugin.system.device import tf32

_FIRST_AREA = 0.3  # of the image: the first square of the search
# The area halves after these shares of the queries (Square's schedule for 10,000).
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def square_attack(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    *,
    objective: str = "dice",
    queries: int = 1000,
    generator: Source = None,
) -> Tensor:
    """Return images attacked by random search with squares at the corners of the ball.

    Square Attack (Andriushchenko et al., ECCV 2020) on the value of a dense objective: start at
    vertical stripes, then repaint a shrinking square in each image and keep what helps.

    Args:
        forward: pixels -> mask logits; needs no gradient. In eval mode as for `run_attack`.
        images: floats `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}; booleans and integers will do.
        eps: radius of the L-infinity ball in pixel units, or one per image `(B,)`.
        objective: name in `OBJECTIVES`.
        queries: forward passes per image, at least 1; all of them are made.
        generator: source of the squares, on the CPU, for the batch or a list of one for each image;
            the global one by default.

    Raises:
        ConfigError: an unknown objective, no query, or eps or generator cannot be used.
        ImageError: images or masks are not as said above.
        LocalizerError: what comes out are no finite mask logits.
    """
    checked(objective)
    if queries < 1:
        raise ConfigError(f"queries is {queries}; this attack needs at least 1.")
    require_generator(generator, images)
    with attackable(forward):
        images, masks = require_forgeries(images, masks)
        answers = Answers(forward)

        def ask(points: Tensor) -> Tensor:
            with torch.no_grad():
                return value(objective, answers.logits(forward(points), masks, objective), masks)

        with tf32(images.device, on=True):
            best = _search(ask, ball(images, eps), queries, generator)
        answers.require_finite()
    return best


def _search(
    ask: Callable[[Tensor], Tensor],
    within: Ball,
    queries: int,
    generator: Source,
) -> Tensor:
    """Return the points that `ask` values most of all it was asked, `(B,)` a time."""
    signs = _signs((len(within.images), 3, 1, within.images.shape[-1]), within, generator)
    best = within.round(within.images + within.radius * signs)
    highest = ask(best)
    for index in range(1, queries):
        candidate = _repainted(best, within, _area(index / queries), generator)
        reached = ask(candidate)
        wins = reached > highest
        best = torch.where(wins.view(-1, 1, 1, 1), candidate, best)
        highest = torch.where(wins, reached, highest)
    return best


def _area(elapsed: float) -> float:
    """Return the share of the image that a square covers."""
    return float(_FIRST_AREA / 2 ** sum(elapsed > point for point in _HALVINGS))


def _repainted(points: Tensor, within: Ball, area: float, generator: Source) -> Tensor:
    """Return points with one square per image, each colour channel at a new corner of the ball."""
    height, width = points.shape[-2:]
    side = min(max(1, round((area * height * width) ** 0.5)), height, width)
    signs = _signs((len(points), 3, 1, 1), within, generator)
    corner = within.round(within.images + within.radius * signs)
    inside = torch.zeros_like(points[:, :1])
    for image, own in zip(inside, each(len(inside), generator), strict=True):
        top = int(torch.randint(height - side + 1, (), generator=own))
        left = int(torch.randint(width - side + 1, (), generator=own))
        image[:, top : top + side, left : left + side] = 1
    return torch.where(inside > 0, corner, points)


def _signs(shape: tuple[int, int, int, int], within: Ball, generator: Source) -> Tensor:
    return (2 * integers(2, shape, generator) - 1).to(within.images)
