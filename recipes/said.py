"""What a recipe says of its localizer, where that is not known or guessed wrongly."""

from __future__ import annotations

from dataclasses import dataclass

from ansm_plugin.localizer.facts import Facts
from ansm_plugin.localizer.spec import Activation, Triple


@dataclass(frozen=True, kw_only=True)
class SaidOfLocalizer:
    """Facts of the localizer; what is left out is found out, and `ansm doctor` says it.

    Attributes:
        localizer_mean: what its input is shifted by, (pixels in [0, 1] - mean) / std.
        localizer_std: what its input is divided by then.
        localizer_activation: what its mask holds: logits, or probabilities after one of these.
        localizer_stride: images are padded to multiples of this before it.
        localizer_taps: modules whose features are aligned, such as `encoder.layer2`.
    """

    localizer_mean: Triple | None = None
    localizer_std: Triple | None = None
    localizer_activation: Activation | None = None
    localizer_stride: int | None = None
    localizer_taps: tuple[str, ...] | None = None

    @property
    def facts(self) -> Facts:
        """The same for `localizer.facts`."""
        return Facts(
            mean=self.localizer_mean,
            std=self.localizer_std,
            activation=self.localizer_activation,
            stride=self.localizer_stride,
            taps=self.localizer_taps,
        )
