"""The trunk of an ANSM with a mask head: what a second localizer reaches, alone.

A module that is trained against the truth may learn to localize by itself and write its own mask
into the picture. What it then recovers is no rescue of the localizer behind it: this baseline, the
same network on the same crops without any localizer, recovers that much, too.
"""

from __future__ import annotations

from torch import Tensor, nn

from ansm_plugin.ansm import ANSM, Architecture, Precision, architecture
from ansm_plugin.attacks import Forward
from ansm_plugin.baselines.base import Baseline, Examples, Fitting
from ansm_plugin.baselines.trained import RATES, Training, replacing, run_training
from ansm_plugin.training.losses import dual_mask
from ansm_plugin.training.randomness import seeded

NAME = "second-localizer"


class SecondLocalizer(nn.Module):
    """A localizer of the size of an ANSM: its trunk, with one number per pixel in place of three.

    Args:
        arch: of the trunk.
        precision: as that of an `ANSM`.
    """

    def __init__(self, arch: Architecture, precision: Precision = "fp32") -> None:
        super().__init__()
        self.inner = ANSM(arch, precision=precision)
        self.inner.trunk.head = nn.Conv2d(arch.widths[0], arch.unshuffle**2, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Shape: `(B, 3, H, W)` in [0, 1] -> mask logits `(B, 1, H, W)`. Any H and W."""
        return self.inner.raw(pixels)


def fit_second_localizer(fitting: Fitting) -> Baseline:
    """Train a localizer of the architecture of the pair's ANSM, or of the preset "small".

    It sees originals and attacked versions of the same examples, each held to the truth. Attacks
    stay those that were made against the given localizer: it is no part of this one.
    """
    ansm = fitting.defended.ansm
    arch = ansm.architecture if isinstance(ansm, ANSM) else architecture("small")
    with seeded(fitting.draw_seed()):
        precision: Precision = "bf16" if fitting.precision == "bf16" else "fp32"
        localizer = SecondLocalizer(arch, precision).to(fitting.device)
    forward: Forward = localizer

    def loss(examples: Examples) -> Tensor:
        return dual_mask(forward(examples.attacked), forward(examples.originals), examples.masks)

    training = Training(
        NAME,
        "second localizer, no other",
        localizer,
        list(localizer.parameters()),
        loss,
        replacing(forward),
        RATES["second"],
        is_new=True,
    )
    return run_training(training, fitting)
