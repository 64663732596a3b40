"""A localizer learns from a stronger one: from its masks, and from its features (hints).

Where forgeries are few, a network that starts from nothing learns faster what another one, with a
pretrained encoder, already tells apart. Masks as soft targets: Hinton, Vinyals, Dean, 2015 (arXiv
1503.02531); features through learned 1x1 projections: FitNets (Romero et al., ICLR 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.errors import LocalizerError
from ansm_plugin.localizer.call import mask_forward
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.modes import device_of, frozen_eval
from ansm_plugin.localizer.spec import LocalizerSpec
from ansm_plugin.localizer.taps import taps


class Seen(NamedTuple):
    """Mask logits `(B, 1, H, W)` and the features `(B, C, N)` of the hints."""

    logits: Tensor
    features: list[Tensor]


class Network:
    """A localizer that shows its masks together with its features.

    Args:
        localizer: what is run.
        spec: how to talk to it.
        hints: taps.
        precision: "bf16" runs it under autocast.
    """

    def __init__(
        self, localizer: nn.Module, spec: LocalizerSpec, hints: Sequence[str], precision: str
    ) -> None:
        self._localizer, self._hints = localizer, tuple(hints)
        self._forward = mask_forward(localizer, spec, precision=precision)

    def __call__(self, pixels: Tensor) -> Seen:
        """Run on pixels `(B, 3, H, W)` in [0, 1]."""
        with taps(self._localizer, self._hints) as found:
            logits = self._forward(pixels)
        return Seen(logits, [found[name].float() for name in self._hints])


class Lesson(nn.Module):
    """The student with the projections of its features, trained as one module.

    Args:
        student: the localizer in training.
        teacher: name of the localizer that teaches.
        hints: taps that both have, of equal size on equal images.
        precision: "bf16" runs both under autocast.

    Raises:
        AnsmError: the teacher cannot be built, a tap does not exist, or sizes differ.
    """

    def __init__(
        self, student: nn.Module, teacher: str, hints: Sequence[str], precision: str
    ) -> None:
        super().__init__()
        self.student = student
        master = build_localizer(teacher).requires_grad_(False)
        master.to(device_of(student), memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._teacher = Network(master, describe(master), hints, precision)  # no part of the module
        self._network = Network(student, describe(student), hints, precision)
        self.projections = self._fitting(hints)

    def _fitting(self, hints: Sequence[str]) -> nn.ModuleList:
        """Return a projection per hint, from the student's channels to the teacher's."""
        device = device_of(self.student)
        # In eval mode: one image would move the statistics of a BatchNorm.
        with frozen_eval(self.student), torch.no_grad():
            blank = torch.zeros(1, 3, 64, 64, device=device)
            own, taught = self._network(blank).features, self._teacher(blank).features
        projections = [_projection(*each) for each in zip(hints, own, taught, strict=True)]
        return nn.ModuleList(projections).to(device)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the student's logits, the teacher's masks in [0, 1], and the hint loss.

        The hint loss is one minus the cosine of projected and taught features at each pixel, mean
        over pixels and hints: a scalar, 0 without hints.
        """
        with torch.no_grad():
            taught = self._teacher(pixels)
        seen = self._network(pixels)
        distances = [
            1 - functional.cosine_similarity(project(own), other, dim=1).mean()
            for project, own, other in zip(
                self.projections, seen.features, taught.features, strict=True
            )
        ]
        hint = torch.stack(distances).mean() if distances else seen.logits.new_zeros(())
        return seen.logits, taught.logits.sigmoid(), hint


def _projection(name: str, own: Tensor, taught: Tensor) -> nn.Conv1d:
    if own.shape[-1] != taught.shape[-1]:
        raise LocalizerError(
            f"hint {name!r} has {own.shape[-1]} pixels in the student and {taught.shape[-1]} in "
            "the teacher, of an image of 64x64; name taps of equal stride."
        )
    return nn.Conv1d(own.shape[1], taught.shape[1], 1)
