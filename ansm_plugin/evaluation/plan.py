"""The cells of an evaluation: one noise each, what the image passes, the defences scored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from ansm_plugin.attacks import attack_spec
from ansm_plugin.attacks.aims import DECOY, MARK
from ansm_plugin.attacks.features import FEATURE_ATTACK
from ansm_plugin.evaluation.config import (
    ENCODER,
    EXPECTATION,
    WARM_START,
    EvaluationConfig,
    parse_attack,
)
from ansm_plugin.evaluation.noise import (
    BlackBox,
    Gradient,
    Noise,
    Nothing,
    RandomSigns,
    Transfer,
)
from ansm_plugin.evaluation.results import (
    BARE,
    DEFENDED,
    T0,
    T1,
    T2,
    T3,
    T4,
    T5,
    T6,
    T35,
    THREATS,
    Defence,
    Threat,
)

_DRAWS = 4  # random channels that a step of EOT averages
FRAMED: tuple[Framed, ...] = ("authentic", "forged")


Framed = Literal["", "authentic", "forged"]


class Cell(NamedTuple):
    """One noise, what the image passes after it, and the defences scored on what arrives.

    Attributes:
        threat: what the attacker knows.
        noise: what is added to the images.
        scored: keys of the forwards that are scored.
        channel: what the images pass after that; "" for nothing.
        framed: which images get the noise, where they are scored against the wrong mask that it
            was told; "" for forged ones, scored against the truth.
    """

    threat: Threat
    noise: Noise
    scored: tuple[Defence, ...]
    channel: str = ""
    framed: Framed = ""

    @property
    def attack(self) -> str:
        """Name of the row."""
        return f"{self.noise.label}+{self.channel}" if self.channel else self.noise.label

    @property
    def eps_255(self) -> float:
        """Radius in grey levels; 0 without attack."""
        return self.noise.eps_255


def plan(
    config: EvaluationConfig,
    baselines: Sequence[str] = (),
    surrogates: Sequence[str] = (),
    own: Sequence[str] = (),
) -> list[Cell]:
    """Return all attacks of an evaluation, T0 to T6.

    Args:
        config: the attacks.
        baselines: other defences, scored wherever images do not depend on the defence.
        surrogates: localizers that the attacker has instead of the bare one (T3).
        own: pairs of the localizer with modules that the attacker trained himself (T3.5).
    """
    every: tuple[Defence, ...] = (BARE, DEFENDED, *baselines)
    cells = [Cell(T0, Nothing(), every), *_unattacked_frames(config)]
    builders: dict[Threat, Callable[[], Iterator[Cell]]] = {
        T0: lambda: _noise_cells(config, every),
        T1: lambda: _grey_cells(config, every),
        T2: lambda: _unseen_cells(config, every),
        T3: lambda: _transfer_cells(config, every, surrogates),
        T35: lambda: _own_cells(config, own),
        T4: lambda: _white_cells(config, [cell.noise for cell in cells]),
        T5: lambda: _channel_cells(config, every),
        T6: lambda: _query_cells(config),
    }
    for threat in THREATS:
        if threat in config.threats:
            cells += builders[threat]()
    return cells


def _noise_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    # Only beside the full set of threats, where it is a control.
    if {T2, T5} & set(config.threats):
        yield Cell(T0, RandomSigns(float(max(config.eps_255))), every)


def _grey_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    for name in config.attacks:
        spec = attack_spec(name, steps=config.steps)
        for eps in config.eps_255:
            yield Cell(T1, Gradient(name, spec, float(eps)), every)
    for noise in _aimed(config, BARE):
        yield Cell(T1, noise, every)
    for noise in _framing(config, BARE):
        for framed in FRAMED:
            yield Cell(T1, noise, (BARE, DEFENDED), framed=framed)


def _aimed(config: EvaluationConfig, through: Defence) -> Iterator[Gradient]:
    """Yield attacks that are told something wrong: at every radius of T1, at the largest of T4."""
    radii = config.eps_255 if through == BARE else (max(config.white_box_eps_255),)
    steps = config.steps if through == BARE else config.white_box_steps
    for aim in config.aims:
        for name in config.aim_attacks:
            spec = attack_spec(name, steps=steps)
            for eps in radii:
                yield Gradient(name, spec, float(eps), through, aim=aim)


def _framing(config: EvaluationConfig, through: Defence) -> Iterator[Gradient]:
    """Yield the attacks that a wrong mask is known of, with the first name, at every radius."""
    radii = config.eps_255 if through == BARE else config.white_box_eps_255
    steps = config.steps if through == BARE else config.white_box_steps
    for aim in config.aims:
        if aim in (DECOY, MARK):
            name = config.aim_attacks[0]
            for eps in radii:
                yield Gradient(name, attack_spec(name, steps=steps), float(eps), through, aim=aim)


def _unattacked_frames(config: EvaluationConfig) -> Iterator[Cell]:
    """Yield what framing is measured against: images before they are attacked."""
    if config.frames:
        for framed in FRAMED:
            yield Cell(T0, Nothing(), (BARE, DEFENDED), framed=framed)


def _unseen_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    for name, eps in map(parse_attack, config.unseen):
        yield Cell(T2, Gradient(name, attack_spec(name, steps=config.steps), eps), every)


def _transfer_cells(
    config: EvaluationConfig, every: tuple[Defence, ...], surrogates: Sequence[str]
) -> Iterator[Cell]:
    radii = dict.fromkeys(eps for _, eps in map(parse_attack, config.transfer))
    for surrogate in surrogates:
        if surrogate == ENCODER:
            spec = replace(FEATURE_ATTACK, steps=config.steps)
            for eps in radii:
                yield Cell(T3, Transfer("features", spec, eps, surrogate), every)
            continue
        for name, eps in map(parse_attack, config.transfer):
            spec = attack_spec(name, steps=config.steps)
            yield Cell(T3, Transfer(name, spec, eps, surrogate), every)


def _own_cells(config: EvaluationConfig, own: Sequence[str]) -> Iterator[Cell]:
    for module in own:
        for name in config.own_attacks:
            spec = attack_spec(name, steps=config.steps)
            for eps in config.eps_255:
                yield Cell(T35, Transfer(name, spec, float(eps), module), (DEFENDED,))


def _white_cells(config: EvaluationConfig, before: Sequence[Noise]) -> Iterator[Cell]:
    """Yield the attacks through the module; a warm start begins at one of `before` if it can."""
    if not config.white_box_steps:
        return
    widest = float(max(config.white_box_eps_255))
    for name in config.white_box_attacks:
        spec = attack_spec(name, steps=config.white_box_steps)
        spec = replace(spec, restarts=config.white_box_restarts)
        for eps in config.white_box_eps_255:
            yield Cell(T4, Gradient(name, spec, float(eps), DEFENDED), (DEFENDED,))
    name = config.white_box_attacks[0]
    plain = Gradient(name, attack_spec(name, steps=config.white_box_steps), widest, DEFENDED)
    for way in config.adaptive:
        yield Cell(T4, _adaptive(plain, way, before), (DEFENDED,))
    for noise in _aimed(config, DEFENDED):
        yield Cell(T4, noise, (DEFENDED,))
    for noise in _framing(config, DEFENDED):
        yield Cell(T4, noise, (DEFENDED,), framed="authentic")


def _adaptive(plain: Gradient, way: str, before: Sequence[Noise]) -> Gradient:
    """Return a white-box attack that is helped in one of the ways of `config.ADAPTIVE`."""
    if way == WARM_START:
        return replace(plain, way=way, start=_grey_twin(plain, before))
    if way == EXPECTATION:
        return replace(plain, way=way, draws=_DRAWS)
    return replace(plain, way=way, through=view_name(way))


def _grey_twin(white: Gradient, before: Sequence[Noise]) -> Gradient:
    """Return the same attack through the bare localizer, as it is planned already if it is."""
    twin = replace(white, through=BARE)
    for noise in before:
        if isinstance(noise, Gradient) and noise == replace(twin, spec=noise.spec):
            return noise
    return twin


def view_name(way: str) -> Defence:
    """Return the key of the forward that is an adaptive view of the defended localizer."""
    return f"{DEFENDED}, {way}"


def _channel_cells(config: EvaluationConfig, every: tuple[Defence, ...]) -> Iterator[Cell]:
    name, eps = config.attacks[0], float(max(config.eps_255))
    attacked = Gradient(name, attack_spec(name, steps=config.steps), eps)
    for channel in config.channels:
        yield Cell(T5, Nothing(), every, channel)
        yield Cell(T5, attacked, every, channel)


def _query_cells(config: EvaluationConfig) -> Iterator[Cell]:
    eps = float(max(config.white_box_eps_255))
    yield Cell(T6, BlackBox(eps, config.queries), (DEFENDED,))
