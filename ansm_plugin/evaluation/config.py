"""What is attacked in an evaluation, and how hard."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ansm_plugin.attacks import attack_spec
from ansm_plugin.attacks.aims import AIMS, DECOY, MARK, Aim
from ansm_plugin.attacks.objectives import MASKLESS
from ansm_plugin.attacks.radius import require_radii_255
from ansm_plugin.attacks.spec import ForeignAttack, require_startable
from ansm_plugin.data.tiles import TILE, Tiling
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.results import T0, T1, T2, T4, T5, THREATS, Threat
from ansm_plugin.evaluation.summary import WhiteBox

WARM_START = "warm-start"
EXPECTATION = "eot"
ADAPTIVE = ("straight-through", "unsaturated", "bypass", WARM_START, EXPECTATION)
# What T4 has to search with, at every radius, for its figure to be called a bound: APGD on losses
# that fail on different images (Croce and Hein, ICML 2020; Croce et al., ECCV 2024).
BOUND_ATTACKS, BOUND_STEPS, BOUND_RESTARTS = ("apgd-margin", "apgd-dice", "apgd-js"), 100, 3
ENCODER = "encoder"  # the surrogate that is the localizer's own encoder, without its decoder


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """What is attacked, and how hard.

    Attributes:
        threats: which of T0 to T6 are run; T0, the originals, always is.
        attacks: names in `attacks.ATTACKS`, through the bare localizer (T1).
        eps_255: their radii in grey levels.
        steps: their gradient steps.
        unseen: attacks of T2, "name@radius", of other kind or radius than training had.
        transfer: attacks of T3, "name@radius", through each surrogate; through the encoder, the
            feature attack at their radii.
        own_attacks: attacks of T3.5, at every radius of T1, through each module that the attacker
            trained himself, and through all of them.
        white_box_attacks: attacks through the defended localizer (T4), each at every radius.
        white_box_steps: their steps; 0 leaves T4 out.
        white_box_restarts: their runs from random starts, of which the best counts per image; ways
            of `adaptive` and `aims` run once.
        white_box_eps_255: their radii in grey levels.
        adaptive: ways to help the first of them, at the largest radius: names of views of
            `attacks.adaptive`; "warm-start", which begins at the T1 example; "eot", which expects
            JPEG, resize, blur or noise on the way.
        channels: names in `channels.CHANNELS` that images pass after the attack (T5): those of the
            first attack at its largest radius, and originals.
        aims: names in `aims.AIMS`: attacks that are told a wrong mask, at every radius of T1 and at
            the largest of T4; those with a mask of their own are tried on authentic images too.
        aim_attacks: names in `attacks.ATTACKS` that do so; authentic images meet the first one.
        queries: of the search that sees scores alone (T6), at the largest white-box radius.
        precision: "bf16" runs scoring under autocast.
        attack_precision: "bf16" runs attacks under autocast, which is enough for the sign of a
            gradient.
        tile: longest side in pixels of what is attacked and scored at once; larger images are cut
            into overlapping tiles.
        seed: decides random starts and bootstrap.
    """

    threats: tuple[Threat, ...] = (T0, T1, T4)
    attacks: tuple[str, ...] = ("pgd", "mifgsm", "cospgd")
    eps_255: tuple[float, ...] = (2, 4, 8)
    steps: int = 10
    unseen: tuple[str, ...] = ("fgsm@8", "apgd-margin@8", "pgd-l2@8", "region@8", "pgd@16")
    transfer: tuple[str, ...] = ("pgd@8", "mifgsm@8")
    own_attacks: tuple[str, ...] = ("margin", "dice")
    white_box_attacks: tuple[str, ...] = ("pgd",)
    white_box_steps: int = 20
    white_box_restarts: int = 1
    white_box_eps_255: tuple[float, ...] = (8,)
    adaptive: tuple[str, ...] = ()
    channels: tuple[str, ...] = ("jpeg-90", "resize-75", "webp-80", "crop-90")
    aims: tuple[Aim, ...] = ()
    aim_attacks: tuple[str, ...] = ("pgd", "mifgsm", "margin", "apgd")
    queries: int = 1000
    precision: Literal["fp32", "bf16"] = "fp32"
    attack_precision: Literal["fp32", "bf16"] = "fp32"
    tile: int = TILE
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown names and numbers out of range."""
        Tiling(self.tile)
        for name in (*self.attacks, *self.own_attacks, *self.white_box_attacks):
            attack_spec(name)
        for name in (*self.unseen, *self.transfer):
            parse_attack(name)
        for name in self.channels:
            channel(name)
        for way in self.adaptive:
            if way not in ADAPTIVE:
                raise ConfigError(unknown_name("adaptive attack", way, ADAPTIVE))
        for threat in self.threats:
            if threat not in THREATS:
                raise ConfigError(unknown_name("threat", threat, THREATS))
        if self.steps < 1 or self.white_box_steps < 0 or self.queries < 1:
            raise ConfigError(
                f"steps is {self.steps}, queries {self.queries} and white_box_steps "
                f"{self.white_box_steps}; allowed: at least 1, 1 and 0 (0 leaves the white-box "
                "attack out)."
            )
        if self.white_box_restarts < 1:
            raise ConfigError(
                f"white_box_restarts is {self.white_box_restarts}; an attack runs at least once."
            )
        _require_aims(self.aims, self.aim_attacks)
        _require_led(self.adaptive, self.white_box_attacks)
        for field in ("eps_255", "white_box_eps_255"):
            require_radii_255(field, getattr(self, field))
        for field in ("precision", "attack_precision"):
            if getattr(self, field) not in ("fp32", "bf16"):
                raise ConfigError(f"{field} is {getattr(self, field)!r}; allowed: fp32, bf16.")

    @property
    def white_box(self) -> WhiteBox | None:
        """What the T4 figures are: a bound, or an estimate that is too high; None without T4."""
        if T4 not in self.threats or not self.white_box_steps:
            return None
        hard = self.white_box_steps >= BOUND_STEPS and self.white_box_restarts >= BOUND_RESTARTS
        return "bound" if hard and {*BOUND_ATTACKS} <= {*self.white_box_attacks} else "estimate"

    @property
    def frames(self) -> bool:
        """Whether images are attacked to be scored against a wrong mask, authentic ones too."""
        return bool({DECOY, MARK} & set(self.aims) and {T1, T4} & set(self.threats))


def _require_aims(aims: tuple[str, ...], attacks: tuple[str, ...]) -> None:
    """Raise ConfigError for unknown aims, and for attacks that no mask can be told."""
    for aim in aims:
        if aim not in AIMS:
            raise ConfigError(unknown_name("aim", aim, AIMS))
    for name in attacks:
        if attack_spec(name).objective in MASKLESS:
            raise ConfigError(
                f"aim_attacks is {attacks}, but {name} is told no mask, so none can be wrong. Name "
                "attacks that are, such as pgd or mifgsm."
            )
        if MARK in aims and isinstance(attack_spec(name), ForeignAttack):
            raise ConfigError(
                f"aim_attacks is {attacks}, but {name} is a function that goes away from the mask "
                f"it is told, never towards it: leave {MARK} out of the aims, or name our attacks."
            )
    if aims and not attacks:
        raise ConfigError("aim_attacks is empty; name an attack, or leave aims empty.")


def _require_led(ways: tuple[str, ...], attacks: tuple[str, ...]) -> None:
    """Raise ConfigError where the attack that is helped is a function, which takes no help."""
    led = [way for way in ways if way in (WARM_START, EXPECTATION)]
    if led:
        require_startable(
            f"adaptive ({', '.join(led)}) helps the first of white_box_attacks, which", attacks[:1]
        )


def full() -> EvaluationConfig:
    """Return what a report shows: every threat that needs no surrogate, scored in fp32."""
    return EvaluationConfig(
        threats=(T0, T1, T2, T4, T5),
        white_box_attacks=BOUND_ATTACKS,
        white_box_eps_255=(1, 2, 4, 8),
        white_box_steps=BOUND_STEPS,
        white_box_restarts=BOUND_RESTARTS,
        adaptive=("straight-through", "unsaturated", "bypass", WARM_START),
        aims=AIMS,
        precision="fp32",
        attack_precision="bf16",
    )


def quick() -> EvaluationConfig:
    """Return what tells within minutes whether a module works at all."""
    return EvaluationConfig(
        threats=(T0, T1, T4),
        white_box_attacks=("margin",),
        white_box_eps_255=(8,),
        white_box_steps=10,
        adaptive=(WARM_START,),
        aims=(DECOY,),
        aim_attacks=("mifgsm",),
        precision="bf16",
        attack_precision="bf16",
    )


def demo() -> EvaluationConfig:
    """Return what the demo shows: T0, T1 and T4, and one attack that is told a wrong mask."""
    return replace(EvaluationConfig(), aims=(DECOY,), aim_attacks=("mifgsm",))


def parse_attack(text: str) -> tuple[str, float]:
    """Return name and radius in grey levels of "pgd@8".

    Raises:
        ConfigError: no such attack, or a radius out of (0, 255].
    """
    name, _, radius = text.partition("@")
    attack_spec(name)
    try:
        eps = float(radius)
    except ValueError as error:
        raise ConfigError(f"{text!r} has no radius; write pgd@8 for 8 grey levels.") from error
    require_radii_255(f"the radius of {text!r}", eps)
    return name, eps
