"""What an evaluation found: rows, how they are asked for, the numbers to quote, and their JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ansm_plugin.attacks.aims import Aim
from ansm_plugin.attacks.ball import Norm
from ansm_plugin.attacks.spec import ATTACKS
from ansm_plugin.data.listing import LeftOut
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.cost import Cost
from ansm_plugin.evaluation.framing import FramingRow
from ansm_plugin.evaluation.summary import Summary as Summary
from ansm_plugin.evaluation.transplant import Transplant
from ansm_plugin.metrics.defence import harm, recovery
from ansm_plugin.metrics.intervals import FEWEST_SOURCES
from ansm_plugin.metrics.threats import BARE as BARE
from ansm_plugin.metrics.threats import DEFENDED as DEFENDED
from ansm_plugin.metrics.threats import NO_ATTACK as NO_ATTACK
from ansm_plugin.metrics.threats import T0 as T0
from ansm_plugin.metrics.threats import T1 as T1
from ansm_plugin.metrics.threats import T2 as T2
from ansm_plugin.metrics.threats import T3 as T3
from ansm_plugin.metrics.threats import T4 as T4
from ansm_plugin.metrics.threats import T5 as T5
from ansm_plugin.metrics.threats import T6 as T6
from ansm_plugin.metrics.threats import T35 as T35
from ansm_plugin.metrics.threats import THREATS as THREATS
from ansm_plugin.metrics.threats import Defence as Defence
from ansm_plugin.metrics.threats import Threat as Threat
from ansm_plugin.system.device import Computed
from ansm_plugin.system.typed import from_table

WORST = "worst"  # name of the rows that take the strongest attack for each image
WORST_L2 = "worst, l2"  # the same of attacks whose radius is a root mean square: another ball


@dataclass(frozen=True, kw_only=True)
class Row:
    """Mean scores of one defence under one attack.

    Attributes:
        threat: what the attacker knows, a key of `THREATS`.
        attack: name in `attacks.ATTACKS`, `NO_ATTACK`, or `WORST`: the strongest of all for each
            image. What an attack goes through, or an image passes, is said behind the name.
        eps_255: radius in grey levels; 0 without attack.
        steps: gradient steps of the attack; 0 without one. Of `WORST` the most of its attacks.
        defence: `BARE`, `DEFENDED` or a baseline.
        f1: mean F1 over forged images.
        f1_low: lower end of its 95 % bootstrap interval over photographs; 0 where it is not
            defined (`has_interval`).
        f1_high: upper end; 1 where it is not defined.
        iou: mean over forged images.
        auc: mean over forged images; None where no image has one.
        images: number of forged images.
        permuted_f1: mean over forged images of the better of mask and inverted mask.
        f1_by_area: mean F1 by quarter of forged area, smallest first; None below 8 images.
        false_positive_share: mean over authentic images; None where not measured.
        psnr: of the attacked image against the original in dB, mean; of the suppressed one in the
            defended row of T0.
        ssim: likewise.
        aim: what an attack was told that was not told the truth; None for all others. Such an
            attack may do no damage at all.
        photographs: that the forged images were cut from; None where each is one of its own.
    """

    threat: Threat
    attack: str
    eps_255: float
    steps: int
    defence: Defence
    f1: float
    f1_low: float
    f1_high: float
    iou: float
    auc: float | None
    images: int
    permuted_f1: float | None = None
    f1_by_area: tuple[float, ...] | None = None
    false_positive_share: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    aim: Aim | None = None
    photographs: int | None = None

    @property
    def key(self) -> str:
        """Attack and radius, such as "pgd@8"."""
        return f"{self.attack}@{self.eps_255:g}"

    @property
    def sources(self) -> int:
        """Number of photographs that the forged images come from."""
        return self.images if self.photographs is None else self.photographs

    @property
    def has_interval(self) -> bool:
        """Whether the interval is defined: of fewer than three photographs it is not."""
        return self.sources >= FEWEST_SOURCES

    @property
    def norm(self) -> Norm:
        """Norm of the ball that the attack stays in."""
        return norm_of(self.attack)

    def as_json(self) -> dict[str, Any]:
        """Return the fields, without those that were not measured; `auc` is always there."""
        return {k: v for k, v in asdict(self).items() if k == "auc" or v is not None}

    @classmethod
    def from_json(cls, fields: Any, where: str = "row") -> Row:
        """Return the row that `as_json` was asked of, also behind a file.

        Raises:
            ConfigError: not such a table; the message names `where` and what is wrong.
        """
        return from_table(cls, fields, where)


class Rows(tuple[Row, ...]):
    """Rows that can be asked for by what they are; otherwise a tuple of rows."""

    def only(
        self,
        *,
        threat: Threat | None = None,
        attack: str | None = None,
        defence: Defence | None = None,
        eps_255: float | None = None,
    ) -> Rows:
        """Return the rows that are all of what is named, in their order."""
        wanted = {"threat": threat, "attack": attack, "defence": defence, "eps_255": eps_255}
        asked = {name: value for name, value in wanted.items() if value is not None}
        return Rows(r for r in self if all(getattr(r, n) == v for n, v in asked.items()))

    def clean(self, defence: Defence) -> Row:
        """Return the row of a defence on original images.

        Raises:
            ConfigError: there is none.
        """
        for row in self.only(threat=T0, attack=NO_ATTACK, defence=defence):
            return row
        raise ConfigError(f"no row is of {defence!r} on original images; every evaluation has one.")

    def pairs(self) -> Iterator[tuple[Row, Row]]:
        """Yield the bare and the defended row of each attack of T1.

        Raises:
            ConfigError: a bare row is without the defended one.
        """
        defended = {row.key: row for row in self.only(threat=T1, defence=DEFENDED)}
        for row in self.only(threat=T1, defence=BARE):
            if row.key not in defended:
                raise ConfigError(f"the bare row of T1 {row.key} is without its defended one.")
            yield row, defended[row.key]

    def strongest_white_box(self) -> list[Row]:
        """Return the T4 row with the lowest F1 of each radius, smallest radius first.

        Attacks in an l2 ball, whose radius says something else, count where there are no others.
        """
        white = self.only(threat=T4)
        white = Rows(row for row in white if row.norm == "linf") or white
        radii = sorted({row.eps_255 for row in white})
        # Of equal figures that of all attacks is the one to name.
        order = {row: (row.f1, row.attack != WORST) for row in white}
        return [min(white.only(eps_255=eps), key=order.__getitem__) for eps in radii]


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Rows and what follows from them.

    Attributes:
        localizer: name of the localizer.
        ansm: name of the ANSM.
        images: number of all images, authentic ones included.
        rows: scores, T0 first; any tuple of rows becomes `Rows`.
        summary: the numbers to quote.
        alarms: reasons to distrust the numbers, in plain words.
        alarm_names: the kind of each, a name of `checks.alarm.AlarmName`; None in files of 0.1.
        command: command line that made it, or "".
        versions: of the packages that decide the result.
        seed: of random starts and bootstrap.
        cost: per defence, what it adds to the localizer; empty where not measured.
        framing: authentic images attacked with a wrong mask; empty where not measured.
        left_out: entries of the image and mask folders that were not used, and why.
        transplant: what the module adds, without the image; None where not measured.
        computed: device and precision of scores and attacks; None in files of 0.1.
    """

    localizer: str
    ansm: str
    images: int
    rows: Rows
    summary: Summary
    alarms: tuple[str, ...]
    command: str
    versions: dict[str, str]
    seed: int
    cost: Mapping[str, Cost] = field(default_factory=dict)
    framing: tuple[FramingRow, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    alarm_names: tuple[str, ...] | None = None
    transplant: Transplant | None = None
    computed: Computed | None = None

    def __post_init__(self) -> None:
        """Let rows be asked for, whatever tuple they came in."""
        object.__setattr__(self, "rows", Rows(self.rows))

    def as_json(self) -> dict[str, Any]:
        """Return the JSON schema that `demo` and `evaluate` share."""
        return {
            "localizer": self.localizer,
            "ansm": self.ansm,
            "images": self.images,
            "rows": [row.as_json() for row in self.rows],
            "summary": dict(self.summary),
            "alarms": list(self.alarms),
            **({} if self.alarm_names is None else {"alarm_names": list(self.alarm_names)}),
            "command": self.command,
            "versions": dict(self.versions),
            "seed": self.seed,
            **({"cost": {d: asdict(c) for d, c in self.cost.items()}} if self.cost else {}),
            **({"framing": [row.as_json() for row in self.framing]} if self.framing else {}),
            **({"left_out": [dict(entry) for entry in self.left_out]} if self.left_out else {}),
            **({"transplant": self.transplant.as_json()} if self.transplant else {}),
            **({"computed": asdict(self.computed)} if self.computed else {}),
        }

    @classmethod
    def from_json(cls, fields: Any, where: str = "evaluation") -> Evaluation:
        """Return the evaluation that `as_json` was asked of, also behind a file.

        Raises:
            ConfigError: not such a table; the message names `where` and what is wrong.
        """
        return from_table(cls, fields, where)

    def pairs(self) -> Iterator[tuple[Row, Row]]:
        """Yield the bare and the defended row of each attack of T1."""
        return self.rows.pairs()


def norm_of(attack: str) -> Norm:
    """Return the norm of the ball of an attack, by the name of its row."""
    if attack == WORST_L2:
        return "l2"
    spec = ATTACKS.get(attack.partition(",")[0].partition(" ")[0].partition("+")[0])
    return spec.norm if spec else "linf"


def summarise(rows: Iterable[Row]) -> Summary:
    """Return harm, recovery per attack and the white-box F1, without intervals.

    Raises:
        ConfigError: the rows of original images are missing.
    """
    rows = Rows(rows)
    clean, defended_clean = (rows.clean(defence).f1 for defence in (BARE, DEFENDED))
    return {
        "f1_clean": clean,
        "f1_defended_clean": defended_clean,
        "harm": harm(clean, defended_clean),
        "recovery": {b.key: recovery(clean, b.f1, d.f1) for b, d in rows.pairs()},
        "f1_white_box": {row.key: row.f1 for row in rows.only(threat=T4)},
    }
