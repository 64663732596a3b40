"""Attacks that see the localizer's scores and no gradient, and count what they ask for.

One query is one forward pass of one image. Whether they beat an attack by gradient tells whether a
defence only hides its gradient.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks.ball import Ball, ball
from ansm_plugin.attacks.objectives import objective as checked
from ansm_plugin.attacks.objectives import value
from ansm_plugin.attacks.spec import Forward
from ansm_plugin.errors import ConfigError

_FIRST_AREA = 0.3  # of the image: the first square of the search
# The area halves after these shares of the queries (Square's schedule for 10,000).
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_SHORTEST_STEP = 0.02  # of a radius, for NES


class BlackBox(NamedTuple):
    """Attacked images `(B, 3, H, W)`, and how many queries each image took."""

    attacked: Tensor
    queries: int


def square_attack(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    *,
    objective: str = "dice",
    queries: int = 1000,
    generator: torch.Generator | None = None,
) -> BlackBox:
    """Return images attacked by random search with squares at the corners of the ball.

    Square Attack (Andriushchenko et al., ECCV 2020) on the value of a dense objective: start at
    vertical stripes, then repaint a shrinking square in each image and keep what helps.

    Args:
        forward: pixels -> mask logits; needs no gradient.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        eps: radius of the L-infinity ball in pixel units, or one per image `(B,)`.
        objective: name in `OBJECTIVES`.
        queries: forward passes per image, at least 1.
        generator: source of the squares; the global one by default.

    Raises:
        ConfigError: an unknown objective or no query.
    """
    checked(objective)
    _require_queries(queries, 1)
    within, masks = ball(images, eps), masks.detach().float()
    signs = _signs((len(images), 3, 1, images.shape[-1]), within, generator)
    best = within.round(within.images + within.radius * signs)
    highest = _ask(forward, best, masks, objective)
    for index in range(1, queries):
        candidate = _repainted(best, within, _area(index / queries), generator)
        found = _ask(forward, candidate, masks, objective)
        best, highest = _better(candidate, found, best, highest)
    return BlackBox(best, queries)


def nes_attack(
    forward: Forward,
    images: Tensor,
    masks: Tensor,
    eps: float | Tensor,
    *,
    objective: str = "dice",
    queries: int = 1000,
    pairs: int = 10,
    generator: torch.Generator | None = None,
) -> BlackBox:
    """Return images attacked along a gradient estimated from pairs of opposite random steps.

    NES (Ilyas et al., ICML 2018) with sign steps that shrink to the end; the best point counts.

    Args:
        forward: pixels -> mask logits; needs no gradient.
        images: `(B, 3, H, W)` in [0, 1].
        masks: `(B, 1, H, W)` in {0, 1}.
        eps: radius of the L-infinity ball in pixel units, or one per image `(B,)`.
        objective: name in `OBJECTIVES`.
        queries: most forward passes per image; one step takes `2 * pairs + 1`.
        pairs: pairs per step.
        generator: source of the random steps; the global one by default.

    Raises:
        ConfigError: an unknown objective, no pair, or queries for less than one step.
    """
    checked(objective)
    if pairs < 1:
        raise ConfigError(f"pairs is {pairs}; NES needs at least 1 per step.")
    _require_queries(queries, 2 * pairs + 2)
    within, masks = ball(images, eps), masks.detach().float()
    current = best = within.round(within.images)
    highest = _ask(forward, best, masks, objective)
    steps = (queries - 1) // (2 * pairs + 1)
    for index in range(steps):
        slope = _estimate(forward, current, masks, objective, within.radius, pairs, generator)
        share = max(0.5 * (1 - index / steps), _SHORTEST_STEP)
        current = within.project(within.move(current, slope, share))
        candidate = within.round(current)
        found = _ask(forward, candidate, masks, objective)
        best, highest = _better(candidate, found, best, highest)
    return BlackBox(best, 1 + steps * (2 * pairs + 1))


def _ask(forward: Forward, points: Tensor, masks: Tensor, objective: str) -> Tensor:
    with torch.no_grad():
        return value(objective, forward(points).float(), masks)


def _better(
    candidate: Tensor, found: Tensor, best: Tensor, highest: Tensor
) -> tuple[Tensor, Tensor]:
    wins = found > highest
    return torch.where(wins.view(-1, 1, 1, 1), candidate, best), torch.where(wins, found, highest)


def _area(elapsed: float) -> float:
    """Return the share of the image that a square covers."""
    return float(_FIRST_AREA / 2 ** sum(elapsed > point for point in _HALVINGS))


def _repainted(
    points: Tensor, within: Ball, area: float, generator: torch.Generator | None
) -> Tensor:
    """Return points with one square per image at new corners of the ball, one per channel."""
    height, width = points.shape[-2:]
    side = min(max(1, round((area * height * width) ** 0.5)), height, width)
    signs = _signs((len(points), 3, 1, 1), within, generator)
    corner = within.round(within.images + within.radius * signs)
    inside = torch.zeros_like(points[:, :1])
    for image in inside:
        top = int(torch.randint(height - side + 1, (), generator=generator))
        left = int(torch.randint(width - side + 1, (), generator=generator))
        image[:, top : top + side, left : left + side] = 1
    return torch.where(inside > 0, corner, points)


def _signs(
    shape: tuple[int, int, int, int], within: Ball, generator: torch.Generator | None
) -> Tensor:
    drawn = torch.randint(2, shape, generator=generator)
    return (2 * drawn - 1).to(within.images)


def _estimate(
    forward: Forward,
    points: Tensor,
    masks: Tensor,
    objective: str,
    radius: Tensor,
    pairs: int,
    generator: torch.Generator | None,
) -> Tensor:
    """Return the estimated gradient, up to a positive factor."""
    total = torch.zeros_like(points)
    for _ in range(pairs):
        way = torch.randn(points.shape, generator=generator).to(points)
        there, back = (
            _ask(forward, points + sign * 0.25 * radius * way, masks, objective) for sign in (1, -1)
        )
        total += (there - back).view(-1, 1, 1, 1) * way
    return total


def _require_queries(queries: int, least: int) -> None:
    if queries < least:
        raise ConfigError(f"queries is {queries}; this attack needs at least {least}.")
