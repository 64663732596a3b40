"""What an anti-forensics set says of itself: its plan, and how each file was made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, TypedDict

from ansm_plugin.attacks.foreign import find
from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.spec import ATTACKS, require_attacks
from ansm_plugin.system.typed import from_table

MANIFEST = "manifest.json"
MIN_EFFECT = 0.01  # mean loss of F1 below which an attack did nothing


@dataclass(frozen=True, kw_only=True)
class AttackPlan:
    """What an anti-forensics set is made with.

    Attributes:
        attacks: names in `attacks.ATTACKS`.
        eps_255: their radii in grey levels.
        steps: their gradient steps.
        seed: decides random starts.
    """

    attacks: tuple[str, ...] = ("mifgsm",)
    eps_255: tuple[float, ...] = (2.0, 4.0, 8.0)
    steps: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown attacks and radii out of range."""
        require_attacks(self.attacks)
        require_radii_255("eps", self.eps_255)


@dataclass(frozen=True, kw_only=True)
class AttackedFile:
    """How one file of a set was made, and what that did.

    Attributes:
        file: its name, in `Tp/` and in `Gt/`.
        source: sha256 of the original's pixels.
        attack: name in `attacks.ATTACKS`.
        eps_255: radius in grey levels.
        objective: what the attack maximised.
        steps: gradient steps.
        seed: of the plan.
        f1_before: of the localizer on the original.
        f1_after: on this file.
        psnr: of this file against the original in dB, at most 100.
    """

    file: str
    source: str
    attack: str
    eps_255: float
    objective: str
    steps: int
    seed: int
    f1_before: float
    f1_after: float
    psnr: float

    def as_json(self) -> dict[str, Any]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_json(cls, fields: Any, where: str = "record") -> AttackedFile:
        """Return the record that `as_json` was asked of, also behind a file.

        Raises:
            ConfigError: not such a table; the message names `where` and what is wrong.
        """
        return from_table(cls, fields, where)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a whole set says of itself.

    Attributes:
        localizer: family, class and sha256 of what was attacked.
        plan: the attacks.
        records: of all files, image by image.
        skipped: names of images without forged pixels, which were left out.
    """

    localizer: dict[str, Any]
    plan: AttackPlan
    records: tuple[AttackedFile, ...]
    skipped: tuple[str, ...]

    def idle(self) -> list[str]:
        """Return the attacks that took less than `MIN_EFFECT` of F1 on average."""
        found: dict[str, list[float]] = {}
        for record in self.records:
            key = f"{record.attack}@{record.eps_255:g}"
            found.setdefault(key, []).append(record.f1_before - record.f1_after)
        return [key for key, lost in found.items() if sum(lost) / len(lost) < MIN_EFFECT]

    def as_json(self) -> dict[str, Any]:
        """Return what `manifest.json` holds."""
        files = [record.as_json() for record in self.records]
        decides = made_with(self.localizer, self.plan)
        return {**decides, "skipped": list(self.skipped), "files": files}

    @classmethod
    def from_json(cls, fields: Any, where: str = "manifest") -> Manifest:
        """Return the manifest that `as_json` was asked of, also behind a file.

        Raises:
            ConfigError: not such a table; the message names `where` and what is wrong.
        """
        table = from_table(_Table, fields, where)
        plan = AttackPlan(
            attacks=table["attacks"],
            eps_255=table["eps_255"],
            steps=table["steps"],
            seed=table["seed"],
        )
        return cls(
            localizer=table["localizer"],
            plan=plan,
            records=table["files"],
            skipped=table["skipped"],
        )


def made_with(localizer: dict[str, Any], plan: AttackPlan) -> dict[str, Any]:
    """Return what decides the files of a set, beside the images, as its JSON holds it."""
    code = {name: find(name).code for name in plan.attacks if name not in ATTACKS}
    told = {"code": code} if code else {}  # of attacks of other packages: another is another set
    return {"localizer": localizer, **json.loads(json.dumps(asdict(plan))), **told}


class _Always(TypedDict):
    """The fields of `manifest.json`, in which plan and manifest lie flat."""

    localizer: dict[str, Any]
    attacks: tuple[str, ...]
    eps_255: tuple[float, ...]
    steps: int
    seed: int
    skipped: tuple[str, ...]
    files: tuple[AttackedFile, ...]


class _Table(_Always, total=False):
    """And those of some: the code of attacks of other packages, by their names."""

    code: dict[str, str]
