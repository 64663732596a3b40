"""What is evaluated: samples, attacks and their order."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ansm_plugin.attacks import AttackSpec, attack_spec
from ansm_plugin.attacks.features import FEATURE_ATTACK
from ansm_plugin.errors import ConfigError, unknown_name
from ansm_plugin.evaluation.channels import channel
from ansm_plugin.evaluation.results import THREATS, Defence, Threat
from ansm_plugin.tiles import TILE, Tiling


class Sample(NamedTuple):
    """A batch of images of one size.

    Images `(B, 3, H, W)` in [0, 1], masks `(B, 1, H, W)` in {0, 1}, one name each. An empty mask
    marks an authentic image.
    """

    images: Tensor
    masks: Tensor
    names: tuple[str, ...]


WARM_START = "warm-start"
EXPECTATION = "eot"
ADAPTIVE = ("straight-through", "unsaturated", "bypass", WARM_START, EXPECTATION)
ENCODER = "encoder"  # the surrogate that is the localizer's own encoder, without its decoder
_DRAWS = 4  # random channels that a step of EOT averages


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
        white_box_attacks: attacks through the defended localizer (T4): the first at every radius,
            the others at the largest.
        white_box_steps: their steps; 0 leaves T4 out.
        white_box_eps_255: their radii in grey levels.
        adaptive: ways to help the first of them, at the largest radius: names of views of
            `attacks.adaptive`; "warm-start", which begins at the T1 example; "eot", which expects
            JPEG, resize, blur or noise on the way.
        channels: names in `channels.CHANNELS` that images pass after the attack (T5): those of the
            first attack at its largest radius, and originals.
        queries: of the search that sees scores alone (T6), at the largest white-box radius.
        precision: "bf16" runs scoring under autocast.
        attack_precision: "bf16" runs attacks under autocast, which is enough for the sign of a
            gradient.
        tile: longest side in pixels of what is attacked and scored at once; larger images are cut
            into overlapping tiles.
        seed: decides random starts and bootstrap.
    """

    threats: tuple[Threat, ...] = ("T0", "T1", "T4")
    attacks: tuple[str, ...] = ("pgd", "mifgsm", "cospgd")
    eps_255: tuple[float, ...] = (2, 4, 8)
    steps: int = 10
    unseen: tuple[str, ...] = ("fgsm@8", "apgd-margin@8", "pgd-l2@8", "region@8", "pgd@16")
    transfer: tuple[str, ...] = ("pgd@8", "mifgsm@8")
    white_box_attacks: tuple[str, ...] = ("pgd",)
    white_box_steps: int = 20
    white_box_eps_255: tuple[float, ...] = (8,)
    adaptive: tuple[str, ...] = ()
    channels: tuple[str, ...] = ("jpeg-90", "resize-75", "webp-80", "crop-90")
    queries: int = 1000
    precision: Literal["fp32", "bf16"] = "fp32"
    attack_precision: Literal["fp32", "bf16"] = "fp32"
    tile: int = TILE
    seed: int = 0

    def __post_init__(self) -> None:
        """Raise ConfigError for unknown names and numbers out of range."""
        Tiling(self.tile)
        for name in (*self.attacks, *self.white_box_attacks):
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
        for field in ("eps_255", "white_box_eps_255"):
            radii = getattr(self, field)
            if not radii or not all(0 < eps <= 255 for eps in radii):
                raise ConfigError(
                    f"{field} is {radii}; allowed: one radius or more, each above 0 and at most "
                    "255 grey levels."
                )
        for field in ("precision", "attack_precision"):
            if getattr(self, field) not in ("fp32", "bf16"):
                raise ConfigError(f"{field} is {getattr(self, field)!r}; allowed: fp32, bf16.")


def parse_attack(text: str) -> tuple[str, float]:
    """Return name and radius in grey levels of "pgd@8".

    Raises:
        ConfigError: no such attack, or a radius out of (0, 255].
    """
    name, _, radius = text.partition("@")
    attack_spec(name)
    try:
        eps = float(radius)
    except ValueError:
        eps = -1.0
    if not 0 < eps <= 255:
        raise ConfigError(
            f"{text!r} has no radius above 0 and at most 255 grey levels; write pgd@8."
        )
    return name, eps


class Cell(NamedTuple):
    """One attack, the model it goes through and the defences scored on its images.

    Attributes:
        threat: what the attacker knows.
        attack: name of the row.
        eps_255: radius in grey levels.
        through: key of the forward that is attacked; "" for images without attack.
        scored: keys of the forwards that are scored.
        spec: of a gradient attack; None for none, for noise and for a search by queries.
        channel: what the images pass after the attack; "" for nothing.
        seeded_by: name that decides the random start: cells of one attack share its images.
        start: key of the forward whose attacked images are the start; "" for none.
        draws: random channels that each step averages (EOT); 0 attacks the image itself.
    """

    threat: Threat
    attack: str
    eps_255: float
    through: Defence
    scored: tuple[Defence, ...]
    spec: AttackSpec | None = None
    channel: str = ""
    seeded_by: str = ""
    start: Defence = ""
    draws: int = 0


def attack_generator(seed: int, attack: str, eps_255: float, batch: int) -> torch.Generator:
    """Return the source of the random start of one attack on one batch.

    It depends on its arguments alone, so neither the order nor the choice of other attacks
    changes a result.
    """
    text = f"{seed} {attack} {float(eps_255)} {batch}"
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7]))


def plan(
    config: EvaluationConfig, baselines: Sequence[str] = (), surrogates: Sequence[str] = ()
) -> list[Cell]:
    """Return all attacks of an evaluation, T0 to T6.

    Args:
        config: the attacks.
        baselines: other defences, scored wherever images do not depend on the defence.
        surrogates: localizers that the attacker has instead of the bare one (T3).
    """
    every: tuple[Defence, ...] = ("none", "ansm", *baselines)
    cells = [Cell("T0", "none", 0.0, "", every)]
    builders: dict[Threat, Callable[[], Iterator[Cell]]] = {
        "T0": lambda: _noise_cells(config, every),
        "T1": lambda: _grey_cells(config, every),
        "T2": lambda: _unseen_cells(config, every),
        "T3": lambda: _transfer_cells(config, every, surrogates),
        "T4": lambda: _white_cells(config),
        "T5": lambda: _channel_cells(config, every),
        "T6": lambda: _query_cells(config),
    }
    for threat in THREATS:
        if threat in config.threats:
            cells += builders[threat]()
    return cells


def _noise_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    # Noise that no one searched for; only beside the full set of threats, where it is a control.
    if {"T2", "T5"} & set(config.threats):
        yield Cell("T0", "noise", float(max(config.eps_255)), "", every)


def _grey_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    for name in config.attacks:
        spec = attack_spec(name, steps=config.steps)
        for eps in config.eps_255:
            yield Cell("T1", name, float(eps), "none", every, spec)


def _unseen_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    for name, eps in map(parse_attack, config.unseen):
        yield Cell("T2", name, eps, "none", every, attack_spec(name, steps=config.steps))


def _transfer_cells(
    config: EvaluationConfig, every: tuple[Defence, ...], surrogates: Sequence[str]
) -> Iterator[Cell]:
    radii = dict.fromkeys(eps for _, eps in map(parse_attack, config.transfer))
    for surrogate in surrogates:
        if surrogate == ENCODER:
            spec = replace(FEATURE_ATTACK, steps=config.steps)
            for eps in radii:
                yield Cell("T3", "features from encoder", eps, ENCODER, every, spec)
            continue
        for name, eps in map(parse_attack, config.transfer):
            spec = attack_spec(name, steps=config.steps)
            yield Cell("T3", f"{name} from {surrogate}", eps, surrogate, every, spec)


def _white_cells(config: EvaluationConfig) -> Iterator[Cell]:
    widest = float(max(config.white_box_eps_255))
    for number, name in enumerate(config.white_box_attacks if config.white_box_steps else ()):
        spec = attack_spec(name, steps=config.white_box_steps)
        for eps in (widest,) if number else config.white_box_eps_255:
            yield Cell("T4", name, float(eps), "ansm", ("ansm",), spec)
    if config.white_box_steps:
        name = config.white_box_attacks[0]
        spec = attack_spec(name, steps=config.white_box_steps)
        for way in config.adaptive:
            as_it_is = way in (WARM_START, EXPECTATION)
            yield Cell(
                "T4",
                f"{name}, {way}",
                widest,
                "ansm" if as_it_is else view_name(way),
                ("ansm",),
                spec,
                start="none" if way == WARM_START else "",
                draws=_DRAWS if way == EXPECTATION else 0,
            )


def view_name(way: str) -> Defence:
    """Return the key of the forward that is an adaptive view of the defended localizer."""
    return f"ansm, {way}"


def _channel_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    name, eps = config.attacks[0], float(max(config.eps_255))
    spec = attack_spec(name, steps=config.steps)
    for way in config.channels:
        yield Cell("T5", f"none+{way}", 0.0, "", every, channel=way)
        yield Cell("T5", f"{name}+{way}", eps, "none", every, spec, way, name)


def _query_cells(config: EvaluationConfig) -> Iterator[Cell]:
    yield Cell("T6", "square", float(max(config.white_box_eps_255)), "ansm", ("ansm",))
