"""Options that say how to talk to a localizer, where it is not known or guessed wrongly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ansm_plugin.commands.options import option
from ansm_plugin.commands.values import Triple, names, positive, triple

if TYPE_CHECKING:
    from ansm_plugin.localizer.facts import Facts
    from ansm_plugin.localizer.spec import Activation


@dataclass(frozen=True, kw_only=True)
class FactOptions:
    """Facts of the localizer; None where they are found out (`ansm doctor` says what was found)."""

    localizer_mean: Triple | None = option(
        None,
        parse=triple,
        metavar="R,G,B",
        help="what its input is shifted by: (pixels in [0, 1] - mean) / std",
    )
    localizer_std: Triple | None = option(
        None, parse=triple, metavar="R,G,B", help="what its input is divided by then"
    )
    localizer_activation: Activation | None = option(
        None,
        choices=("logits", "sigmoid", "softmax"),
        help="what its mask holds: logits, or probabilities after one of these",
    )
    localizer_stride: int | None = option(
        None,
        parse=positive,
        metavar="PIXELS",
        help="images are padded to multiples of this before it",
    )
    localizer_taps: tuple[str, ...] | None = option(
        None,
        parse=names,
        metavar="A,B",
        help="modules whose features are aligned or attacked, as encoder.layer2 or encoder[3], "
        "separated by commas",
    )

    @property
    def facts(self) -> Facts:
        """The same for `localizer.facts`."""
        from ansm_plugin.localizer.facts import Facts

        return Facts(
            mean=self.localizer_mean,
            std=self.localizer_std,
            activation=self.localizer_activation,
            stride=self.localizer_stride,
            taps=self.localizer_taps,
        )
