"""What a module adds to original images, seen without those images.

What is added to an unattacked forgery, put on flat grey, must not tell the bare localizer where the
forgery was: else the module has found it and writes it into the picture, a second localizer.

What a filter takes away tells it as well, for the traces that are gone from the picture are in the
difference. That is no message: with its sign turned the difference tells as much, and it points
against the picture's own fine detail (`Transplant.takes_away`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from ansm_plugin.system.typed import from_table

MARGIN = 0.05  # of F1: what is no more above its control than that is none
# Cosine with the picture's fine detail. Measured before the packaged localizer: median of 3x3
# -0.74, JPEG 75 -0.45, JPEG 98 -0.42, blur -1.0; modules that write -0.03.
_AGAINST_DETAIL = -0.2
Values = Mapping[str, Sequence[float]]  # one for each image, by the names of fields of Transplant


@dataclass(frozen=True, kw_only=True)
class Transplant:
    """Means over forged images of what the module adds to each of them, its perturbation.

    F1 is that of the bare localizer against the forgery's own mask; lengths are root mean squares
    in grey levels. What is of attacked images is None where none were made (without T1).

    Attributes:
        images: their number.
        f1: perturbation of the unattacked forgery on flat grey.
        control_f1: that of another picture on flat grey.
        negated_f1: perturbation with its sign turned on flat grey.
        error: standard error of `f1 - control_f1` over images.
        authentic_f1: perturbation on an unrelated authentic photograph.
        authentic_clean_f1: that photograph alone.
        rms_255: length of the perturbation of unattacked forgeries.
        detail_cosine: cosine of it with the picture's own fine detail, in [-1, 1]; that of a
            filter, which takes detail away, is far below 0.
        attack: what attacked images were attacked with, such as "pgd@8".
        attacked_rms_255: length of the perturbation of attacked images.
        attacked_distance_255: from the original to the attacked image.
        suppressed_distance_255: from the original to the attacked image behind the module.
        noise_cosine: cosine of the perturbation with minus the noise, in [-1, 1].
    """

    images: int
    f1: float
    control_f1: float
    negated_f1: float
    error: float
    authentic_f1: float
    authentic_clean_f1: float
    rms_255: float
    detail_cosine: float
    attack: str | None = None
    attacked_rms_255: float | None = None
    attacked_distance_255: float | None = None
    suppressed_distance_255: float | None = None
    noise_cosine: float | None = None

    @property
    def excess(self) -> float:
        """F1 above its control."""
        return self.f1 - self.control_f1

    @property
    def distance_ratio(self) -> float | None:
        """Distance from the original behind the module over that before it; 1 undoes nothing."""
        if not self.attacked_distance_255 or self.suppressed_distance_255 is None:
            return None
        return self.suppressed_distance_255 / self.attacked_distance_255

    @property
    def takes_away(self) -> bool:
        """Whether the perturbation is what a filter takes from the picture, and no message."""
        is_even = self.f1 - self.negated_f1 <= MARGIN
        return is_even and self.detail_cosine < _AGAINST_DETAIL

    @property
    def overwrites(self) -> bool:
        """Whether the module writes a mask of its own into the picture."""
        # Twice the standard error: a few images that are marked at random are no message.
        return self.excess > max(MARGIN, 2 * self.error) and not self.takes_away

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without those that were not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, fields: Any, where: str = "transplant") -> Transplant:
        """Return what `as_json` was asked of, also behind a file.

        Raises:
            ConfigError: not such a table; the message names `where` and what is wrong.
        """
        return from_table(cls, fields, where)


def mean_of(parts: Sequence[Values], attack: str | None) -> Transplant | None:
    """Return the means over the images of several batches; None where there is no image.

    Args:
        parts: values by name of field, the same names in each that is not empty.
        attack: name and radius of what attacked images were attacked with, if there are any.
    """
    known = [part for part in parts if part.get("f1")]
    if not known:
        return None
    values = {name: [v for part in known for v in part[name]] for name in known[0]}
    means: dict[str, Any] = {name: sum(found) / len(found) for name, found in values.items()}
    above = torch.tensor([values["f1"], values["control_f1"]], dtype=torch.float64)
    count = above.shape[1]
    error = float((above[0] - above[1]).std()) / count**0.5 if count > 1 else 0.0
    told = attack if "noise_cosine" in means else None
    return Transplant(images=count, error=error, attack=told, **means)
