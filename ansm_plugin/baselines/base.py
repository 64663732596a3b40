"""What every baseline is: a change of the forward pass, fitted on validation images.

A defence that only changes pixels is a `Filter`; one that needs several passes, or a localizer of
its own, is a `Wrap`. Both end as a `Baseline`, so that the evaluation knows one kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ansm_plugin.attacks import Forward
from ansm_plugin.defended import DefendedLocalizer
from ansm_plugin.errors import ConfigError, ImageError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.modes import device_of
from ansm_plugin.metrics.masks import f1_scores
from ansm_plugin.system.progress import Progress, silent

Filter = Callable[[Tensor], Tensor]  # pixels (B, 3, H, W) in [0, 1] -> the same
Wrap = Callable[[Forward], Forward]
_BATCH = 16  # images scored at once while a setting is searched


class Examples(NamedTuple):
    """Images of one size to fit a baseline on.

    Originals and attacked `(N, 3, H, W)`, masks `(N, 1, H, W)` in {0, 1}; pixels are floats in
    [0, 1] or uint8.
    """

    originals: Tensor
    masks: Tensor
    attacked: Tensor

    def rows(self, index: Tensor | slice) -> Examples:
        """Return some images, as floats in [0, 1]."""
        originals, attacked = (_as_floats(t[index]) for t in (self.originals, self.attacked))
        return Examples(originals, self.masks[index].float(), attacked)

    def forged(self) -> Examples:
        """Return the forged images alone; the F1 of an authentic one is 0 whatever is done."""
        chosen = (self.masks > 0).flatten(1).any(1)
        return Examples(self.originals[chosen], self.masks[chosen], self.attacked[chosen])


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A fitted rival of the ANSM.

    Attributes:
        name: in `BASELINES`.
        label: name and chosen setting, to print.
        wrap: turns the forward pass of the bare localizer into the defended one.
        filter: the change of pixels, where that is all it is.
        module: the network that was trained: a denoiser, or the copy of the localizer; else None.
        f1: mean over originals and attacked of the validation images; None where nothing was
            searched.
    """

    name: str
    label: str
    wrap: Wrap
    filter: Filter | None = None
    module: nn.Module | None = None
    f1: float | None = None

    def __call__(self, forward: Forward) -> Forward:
        """Return the defended forward pass: pixels in [0, 1] -> mask logits."""
        return self.wrap(forward)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """All that a baseline may be fitted with.

    Attributes:
        defended: the localizer and the ANSM that the baseline stands in for.
        examples: validation images; settings are chosen on them.
        training: what trained baselines learn from.
        generator: source of all randomness.
        steps: optimiser steps of trained baselines.
        precision: of the localizer, "fp32" or "bf16".
        progress: of trained baselines.
    """

    defended: DefendedLocalizer[Any]
    examples: Examples
    training: Examples
    generator: torch.Generator
    steps: int
    precision: str
    progress: Progress = silent

    @property
    def forward(self) -> Forward:
        """Pixels -> mask logits of the bare localizer."""
        return mask_forward(self.defended.localizer, self.defended.spec, precision=self.precision)

    @property
    def device(self) -> torch.device:
        """Where the localizer is."""
        return device_of(self.defended)

    def draw_seed(self) -> int:
        """Return a seed for a baseline that is random itself."""
        return int(torch.randint(2**31, (), generator=self.generator))


class Candidate(NamedTuple):
    """One setting of a baseline: what to print, and what it does."""

    label: str
    wrap: Wrap
    filter: Filter | None = None


def filtering(change: Filter) -> Wrap:
    """Return the wrap that changes pixels before the localizer sees them."""
    return lambda forward: lambda pixels: forward(change(pixels))


def filter_candidate(label: str, change: Filter) -> Candidate:
    """Return a setting that only changes pixels."""
    return Candidate(label, filtering(change), change)


def best_of(name: str, candidates: Sequence[Candidate], fitting: Fitting) -> Baseline:
    """Return the setting with the highest mean F1 over original and attacked validation images.

    The first of equals wins, so candidates go from the mildest on.
    """
    scored = [mean_f1(c.wrap(fitting.forward), fitting) for c in candidates]
    index = max(range(len(scored)), key=scored.__getitem__)
    label, wrap, change = candidates[index]
    return Baseline(name=name, label=label, wrap=wrap, filter=change, f1=scored[index])


def mean_f1(forward: Forward, fitting: Fitting) -> float:
    """Return the mean F1 of the forged validation images, originals and attacked alike."""
    examples, scores = fitting.examples, []
    for start in range(0, len(examples.masks), _BATCH):
        part = examples.rows(slice(start, start + _BATCH))
        for pixels in (part.originals, part.attacked):
            with torch.no_grad():
                logits = forward(pixels.to(fitting.device)).cpu()
            scores.append(f1_scores(logits, part.masks.cpu()))
    return float(torch.cat(scores).mean())


def require_examples(examples: Examples) -> Examples:
    """Return the forged examples, or raise ImageError where none can be used."""
    originals, masks, attacked = examples
    count, *size = originals.shape[0], *originals.shape[2:]
    if (
        originals.shape != attacked.shape
        or originals.ndim != 4
        or originals.shape[1] != 3
        or tuple(masks.shape) != (count, 1, *size)
    ):
        raise ImageError(
            f"originals {tuple(originals.shape)}, masks {tuple(masks.shape)} and attacked "
            f"{tuple(attacked.shape)} were given; needed: (N, 3, H, W), (N, 1, H, W) and the "
            "shape of the originals."
        )
    forged = examples.forged()
    if not len(forged.masks):
        raise ImageError(f"none of the {count} examples is forged; a baseline is fitted by F1.")
    return forged


def require_steps(steps: int) -> None:
    """Raise ConfigError unless there is a step to train for."""
    if steps < 1:
        raise ConfigError(f"steps is {steps}; a trained baseline needs at least 1.")


def _as_floats(pixels: Tensor) -> Tensor:
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()
