"""The gradient of an objective at a point, as an attack sees it: in fp32, averaged over draws.

It comes from `torch.autograd.grad`, so no parameter ever receives one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ansm_plugin.attacks.answers import Answers
from ansm_plugin.attacks.captured import Captured, State
from ansm_plugin.attacks.objectives import objective as find_objective
from ansm_plugin.attacks.objectives import success, value
from ansm_plugin.attacks.seeds import Source, changed, require_one_each
from ansm_plugin.attacks.spec import Expectation
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import Forward


class Worth(NamedTuple):
    """What a point is worth to the attacker, `(B,)` each, higher is better: see `objectives`."""

    value: Tensor
    success: Tensor


class _Draw(NamedTuple):
    """The gradient of one draw, and the logits and masks of the view it saw."""

    gradient: Tensor
    logits: Tensor
    masks: Tensor


@dataclass(frozen=True, kw_only=True)
class Slope:
    """An objective on a localizer, and what lies between image and localizer.

    Attributes:
        forward: pixels -> mask logits; its modules must be in eval mode.
        masks: `(B, 1, H, W)` in {0, 1}.
        objective: name in `OBJECTIVES`.
        generator: source of the expectation and of the diversity, of the batch or of each image.
        expectation: random change of the images that the attack expects on the way.
        diversity: probability of a resized and moved view, see `AttackSpec`.
        answers: watches what `forward` returns.
    """

    forward: Forward
    masks: Tensor
    objective: str
    generator: Source = None
    expectation: Expectation | None = None
    diversity: float = 0.0
    answers: Answers = field(default_factory=Answers)

    def gradient(self, points: Tensor, elapsed: float) -> Tensor:
        """Return the gradient with respect to the points, summed over draws.

        `elapsed` is the share of the attack's steps that are done, in [0, 1].

        Raises:
            LocalizerError: no gradient reaches the points.
        """
        return torch.stack([draw.gradient for draw in self._draws(points, elapsed)]).sum(0)

    def gradient_and_worth(self, points: Tensor, elapsed: float) -> tuple[Tensor, Worth]:
        """Return the gradient and, from the same passes, what the points are worth."""
        draws = self._draws(points, elapsed)
        gradient = torch.stack([draw.gradient for draw in draws]).sum(0)
        return gradient, _mean([self._worth_of(draw.logits, draw.masks) for draw in draws])

    def worth(self, points: Tensor) -> Worth:
        """Return what the points are worth, without a gradient."""
        with torch.no_grad():
            logits = [self._logits(points, self.masks) for _ in range(self._passes)]
        return _mean([self._worth_of(each, self.masks) for each in logits])

    @property
    def _passes(self) -> int:
        return self.expectation.draws if self.expectation else 1

    def _draws(self, points: Tensor, elapsed: float) -> list[_Draw]:
        return [self._draw(points, elapsed) for _ in range(self._passes)]

    def _draw(self, points: Tensor, elapsed: float) -> _Draw:
        if (replayed := self._replayed(points, elapsed)) is not None:
            return replayed
        with torch.enable_grad():
            leaf = points.detach().requires_grad_(True)
            seen, masks = self._seen(leaf)
            logits = self._logits(seen, masks)
            if not logits.requires_grad:
                self.answers.refuse_gradient(logits)
            total = find_objective(self.objective)(logits, masks, elapsed).sum()
            gradient = self.answers.gradient(self._back(total, leaf), logits)
        return _Draw(gradient, logits.detach(), masks)

    @cached_property
    def _state(self) -> State:
        return self.forward.state() if isinstance(self.forward, Captured) else ()

    def _replayed(self, points: Tensor, elapsed: float) -> _Draw | None:
        """Return the draw of a captured pass; None where it is to run plainly."""
        if not isinstance(self.forward, Captured) or self.expectation or self.diversity:
            return None
        found = self.forward.gradient(self._state, self.objective, points, self.masks, elapsed)
        if found is None:
            return None
        logits = self.answers.logits(found.logits, self.masks, self.objective)
        return _Draw(self.answers.gradient(found.gradient, logits), logits, self.masks)

    def _logits(self, points: Tensor, masks: Tensor) -> Tensor:
        if self.expectation is not None:
            points = changed(self.expectation.transform, points, self.generator)
        try:
            answer = self.forward(points)
        except (RuntimeError, LocalizerError) as error:
            if (explained := self.answers.explained(error)) is None:
                raise
            raise explained from error
        return self.answers.logits(answer, masks, self.objective)

    def _back(self, total: Tensor, leaf: Tensor) -> Tensor | None:
        """Return the gradient; None where the leaf plays no part."""
        try:
            (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
        except RuntimeError as error:
            if (explained := self.answers.explained(error)) is None:
                raise
            raise explained from error
        return gradient

    def _seen(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Return the points and their masks, now and then resized and moved."""
        source = self.generator
        if not self.diversity:
            return points, self.masks
        if not isinstance(source, Sequence):
            return self._view(points, self.masks, source)
        require_one_each(source, len(points))
        each = zip(torch.split(points, 1), torch.split(self.masks, 1), source, strict=True)
        images, masks = zip(*(self._view(*one) for one in each), strict=True)
        return torch.cat(images), torch.cat(masks)

    def _view(
        self, images: Tensor, masks: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        if float(torch.rand((), generator=generator)) < self.diversity:
            return moved_view(images, masks, generator)
        return images, masks

    def _worth_of(self, logits: Tensor, masks: Tensor) -> Worth:
        return Worth(value(self.objective, logits, masks), success(self.objective, logits, masks))


def _mean(each: list[Worth]) -> Worth:
    return Worth(*(torch.stack(part).mean(0) for part in zip(*each, strict=True)))


def moved_view(
    images: Tensor, masks: Tensor, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Return images shrunk by up to a tenth at a random place of a black frame, masks likewise.

    One draw serves the batch. The image is bilinear and differentiable, the mask stays in {0, 1}.
    Shape: `(B, C, H, W)` and `(B, 1, H, W)` -> the same.
    """
    height, width = images.shape[-2:]
    factor = 0.9 + 0.1 * float(torch.rand((), generator=generator))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    top = int(torch.randint(height - size[0] + 1, (), generator=generator))
    left = int(torch.randint(width - size[1] + 1, (), generator=generator))
    frame = (left, width - size[1] - left, top, height - size[0] - top)
    small = functional.interpolate(images, size, mode="bilinear", antialias=True)
    small_masks = functional.interpolate(masks, size, mode="nearest-exact")
    return functional.pad(small, frame), functional.pad(small_masks, frame)
