"""A checkpoint matched against the localizer that it is for: names and shapes, one by one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ansm_plugin.errors import WeightsError
from ansm_plugin.system.text import one_line
from ansm_plugin.weights.inert import Made
from ansm_plugin.weights.names import (
    is_beside,
    main_prefix,
    missing_counters,
    without_inner_wrappers,
)
from ansm_plugin.weights.states import State, states
from ansm_plugin.weights.tensors import load_strictly

_PROBES = 8  # names of the localizer that are looked for at the end of the checkpoint's


@dataclass(frozen=True, kw_only=True)
class Match:
    """Tensors of a checkpoint under the localizer's own names.

    Attributes:
        state: where they were found.
        prefix: what was stripped from the start of names.
        tensors: what is the localizer's, in the order of the checkpoint.
        foreign: names that are not the localizer's but a trainer's, as the checkpoint has them.
        filled: counters of BatchNorms that the checkpoint lacks; they are among the tensors.
        missing: names that the localizer has and the checkpoint lacks.
        unknown: names that stand among the localizer's, which does not have them.
        shapes: names whose shape differs.
    """

    state: State
    prefix: str
    tensors: dict[str, Tensor]
    foreign: tuple[str, ...] = ()
    filled: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()

    @property
    def fits(self) -> bool:
        """Whether the localizer can load it, strictly."""
        return not (self.missing or self.unknown or self.shapes)

    @property
    def rank(self) -> tuple[bool, int]:
        """How well it fits: whether it does, then how many tensors do."""
        return self.fits, len(self.tensors) - len(self.shapes) - len(self.unknown)


def stripped(state: State) -> Match:
    """Return the tensors of a state without what was put before the names of its model."""
    prefix = main_prefix(state.tensors)
    carried = {n: t for n, t in state.tensors.items() if n.startswith(prefix)}
    names = {name: without_inner_wrappers(name.removeprefix(prefix)) for name in carried}
    if len(set(names.values())) < len(names):  # two would become one
        names = {name: name.removeprefix(prefix) for name in carried}
    return Match(
        state=state,
        prefix=prefix,
        tensors={names[name]: tensor for name, tensor in carried.items()},
        foreign=tuple(name for name in state.tensors if name not in carried),
    )


def matched(loaded: Any, localizer: nn.Module, source: str, name: str) -> tuple[Match, list[State]]:
    """Return the tensors of a checkpoint that fit a localizer, and other states that fit as well.

    Every place in the checkpoint and every prefix is tried; the usual ones win. The localizer is
    loaded with them, so what is returned is known to load.

    Args:
        loaded: what the checkpoint holds.
        localizer: built, of any weights.
        source: names the checkpoint in messages.
        name: names the localizer in messages.

    Raises:
        WeightsError: none fits; the message says what the best one lacks. Or it holds NaN.
    """
    own = {k: v for k, v in localizer.state_dict().items() if isinstance(v, Tensor)}
    tried = [
        match
        for state in states(loaded)
        for prefix, added in _renamings(list(state.tensors), list(own))
        if (match := _compared(state, prefix, added, own)).tensors
    ]
    if not tried:
        raise WeightsError(
            f"{source} holds no tensor of {name} ({type(localizer).__name__}) at any place; "
            "nothing was written."
        )
    best = max(tried, key=lambda match: match.rank)
    if not best.fits:
        raise WeightsError(_misfit(best, own, source, f"{name} ({type(localizer).__name__})"))
    load_strictly(localizer, {**localizer.state_dict(), **best.tensors}, source)
    twins = {m.state.place: m.state for m in tried if m.fits and m.state.place != best.state.place}
    return best, list(twins.values())


def _renamings(given: list[str], own: list[str]) -> Iterator[tuple[str, str]]:
    """Yield pairs of what to strip from given names and what to put there to get own ones."""
    usual = main_prefix(given)
    found = {(usual, ""): None, ("", ""): None}
    probes = sorted(own, key=len, reverse=True)[:_PROBES]
    for name in given:
        bare = without_inner_wrappers(name.removeprefix(usual))
        for probe in probes:
            plain = without_inner_wrappers(name)
            if plain.endswith("." + probe) and name.endswith(probe):
                found[name.removesuffix(probe), ""] = None
            if probe.endswith("." + bare):
                found[usual, probe.removesuffix(bare)] = None
    yield from found


def _compared(state: State, prefix: str, added: str, own: Mapping[str, Tensor]) -> Match:
    tensors: dict[str, Tensor] = {}
    foreign, unknown, used = [], [], ""
    for name, tensor in state.tensors.items():
        renamed = added + without_inner_wrappers(name.removeprefix(prefix))
        if name.startswith(prefix) and renamed in own:
            tensors[renamed], used = tensor, prefix
        elif name in own:  # the localizer wants what lacks the prefix
            tensors.setdefault(name, tensor)
        elif name.startswith(prefix) and not is_beside(name.removeprefix(prefix)):
            unknown.append(name)
        else:
            foreign.append(name)
    filled = missing_counters(own, tensors)
    tensors |= {name: torch.zeros_like(own[name], device="cpu") for name in filled}
    return Match(
        state=state,
        prefix=used,
        tensors=tensors,
        foreign=tuple(foreign),
        filled=tuple(filled),
        missing=tuple(name for name in own if name not in tensors),
        unknown=tuple(unknown),
        shapes=tuple(name for name in tensors if tensors[name].shape != own[name].shape),
    )


def _misfit(best: Match, own: Mapping[str, Tensor], source: str, name: str) -> str:
    """Say what keeps the best match from fitting, with the nearest names."""
    found = len(own) - len(best.missing)
    where = f"tensors of {best.state}" + (f" without {best.prefix!r}" if best.prefix else "")
    told = [f"{source} does not fit {name}: {found} of its {len(own)} tensors found in {where}"]
    if best.missing:
        near = difflib.get_close_matches(best.missing[0], list(best.state.tensors)[:2000], n=1)
        hint = f" (nearest there: {near[0]})" if near else ""
        if isinstance(unmade := best.state.entries.get(best.prefix + best.missing[0]), Made):
            hint = f" (there as a {unmade.kind}, which needs code to become a tensor)"
        told.append(f"{len(best.missing)} missing: {', '.join(best.missing[:3])}{hint}")
    if best.unknown:
        told.append(f"{len(best.unknown)} unknown: {', '.join(best.unknown[:3])}")
    if best.shapes:
        first = best.shapes[0]
        given, wanted = tuple(best.tensors[first].shape), tuple(own[first].shape)
        told.append(f"{len(best.shapes)} of another shape: {first} is {given}, not {wanted}")
    return one_line(
        f"{'; '.join(told)}. Nothing was written; name the localizer that it was trained as."
    )
