"""The cells of an evaluation: one attack each, the model it goes through, the defences scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from ansm_plugin.attacks import AttackSpec, attack_spec
from ansm_plugin.attacks.features import FEATURE_ATTACK
from ansm_plugin.evaluation.config import (
    ENCODER,
    EXPECTATION,
    WARM_START,
    EvaluationConfig,
    parse_attack,
)
from ansm_plugin.evaluation.results import THREATS, Defence, Threat

_DRAWS = 4  # random channels that a step of EOT averages


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
