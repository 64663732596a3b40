"""Framing: what is marked of images that were attacked with a wrong mask.

Noise that is made with a wrong mask W on an authentic photograph must not make a defence mark W:
else anybody can frame a photograph, and what looks like a rescue of forged ones may be the mask of
the attacker, read out of his noise.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ansm_plugin.attacks.aims import Aim
from ansm_plugin.system.typed import from_table


@dataclass(frozen=True, kw_only=True)
class FramingRow:
    """Means over images of one defence under one attack that was told a wrong mask W.

    All but F1 are shares of pixels in [0, 1].

    Attributes:
        threat: "T1", through the bare localizer; "T4", through the defended one; "T0", no attack.
        attack: name of the attack with its aim, such as "mifgsm, decoy"; "none" without one.
        eps_255: radius in grey levels; 0 without attack.
        steps: gradient steps of the attack.
        defence: `results.BARE` or `results.DEFENDED`.
        images: their number.
        marked: of all pixels, marked as forged.
        inside: of the pixels of W, marked.
        outside: of the pixels beside W, marked.
        f1: pixel F1 against W.
        chance_f1: F1 against W of as many pixels marked anywhere.
        aim: "decoy", away from W, or "mark", towards W; None without attack.
    """

    threat: Literal["T0", "T1", "T4"]
    attack: str
    eps_255: float
    steps: int
    defence: str
    images: int
    marked: float
    inside: float
    outside: float
    f1: float
    chance_f1: float
    aim: Aim | None = None

    @property
    def key(self) -> str:
        """Attack and radius, such as "mifgsm, decoy@8"."""
        return f"{self.attack}@{self.eps_255:g}"

    @property
    def lift(self) -> float:
        """Share marked inside W above that outside, in [-1, 1]."""
        return self.inside - self.outside

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without an aim that is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    @classmethod
    def from_json(cls, fields: Any, where: str = "framing row") -> FramingRow:
        """Return the row that `as_json` was asked of, also behind a file.

        Raises:
            ConfigError: not such a table; the message names `where` and what is wrong.
        """
        return from_table(cls, fields, where)


def clean_row(rows: Sequence[FramingRow], defence: str) -> FramingRow | None:
    """Return the row of a defence without attack; None where there is none."""
    return next((r for r in rows if r.threat == "T0" and r.defence == defence), None)


def framed(rows: Sequence[FramingRow]) -> Iterator[tuple[FramingRow, float]]:
    """Yield attacked rows with their figure: `lift` above that of the same defence unattacked."""
    for row in rows:
        clean = clean_row(rows, row.defence)
        if row.threat != "T0" and clean is not None:
            yield row, row.lift - clean.lift
