"""How evaluations were made: what differs between them, and what makes figures incomparable."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ansm_plugin.evaluation.results import BARE, T0, Evaluation
from ansm_plugin.system.text import one_line

_ABSENT = "-"
_OF_THE_FILES = {"--output", "--json", "--force"}  # they name where results lie, and decide none


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One choice that differs.

    Attributes:
        name: what was chosen.
        values: of each run; "-" where it was not said.
    """

    name: str
    values: tuple[str, ...]


def settings_that_differ(evaluations: Sequence[Evaluation]) -> Iterator[Setting]:
    """Yield each choice that is not the same in all runs."""
    found = [_settings(evaluation) for evaluation in evaluations]
    steps = [_steps(evaluation) for evaluation in evaluations]
    for settings, own in zip(found, steps, strict=True):
        # Of an attack that another run lacks there is nothing to compare.
        settings |= {name: own[name] for name in own if all(name in other for other in steps)}
    for name in dict.fromkeys(name for settings in found for name in settings):
        values = tuple(settings.get(name, _ABSENT) for settings in found)
        if len(set(values)) > 1:
            yield Setting(name=name, values=values)


def warnings_of(named: Sequence[tuple[str, Evaluation]]) -> Iterator[str]:
    """Yield why the figures of runs may not be comparable with those of the first."""
    (first, reference), *others = named
    for name, other in others:
        if other.localizer != reference.localizer:
            yield (
                f"Different localizers: {first} has {one_line(reference.localizer)}, {name} has "
                f"{one_line(other.localizer)}. A difference is not that of the defence alone."
            )
        yield from _images_differ((first, reference), (name, other))


def _images_differ(first: tuple[str, Evaluation], other: tuple[str, Evaluation]) -> Iterator[str]:
    (name, reference), (other_name, evaluation) = first, other
    bare, other_bare = reference.rows.clean(BARE), evaluation.rows.clean(BARE)
    counts = [(e.images, row.images) for e, row in ((reference, bare), (evaluation, other_bare))]
    if counts[0] != counts[1]:
        said = [f"{n} image{'' if n == 1 else 's'} ({forged} forged)" for n, forged in counts]
        yield (
            f"Different images: {name} has {said[0]}, {other_name} has {said[1]}. Means are over "
            "different images; so are differences where no shared image is known."
        )
    elif reference.localizer == evaluation.localizer and bare.f1 != other_bare.f1:
        yield (
            f"Different images or weights: under one name the bare localizer reaches F1 "
            f"{bare.f1:.4f} on original images in {name}, {other_bare.f1:.4f} in {other_name}."
        )


def _settings(evaluation: Evaluation) -> dict[str, str]:
    clean = evaluation.rows.only(threat=T0, defence=BARE)
    settings = {
        "localizer": evaluation.localizer,
        "ANSM": evaluation.ansm,
        "images": str(evaluation.images),
        "forged images": str(clean[0].images) if clean else _ABSENT,
        "seed": str(evaluation.seed),
        "computed on": str(evaluation.computed or _ABSENT),
        "entries left out": str(len(evaluation.left_out)),
    }
    settings |= {f"version of {name}": text for name, text in evaluation.versions.items()}
    return settings | _options(evaluation.command)


def _options(command: str) -> dict[str, str]:
    """Return the options of a command line by name; a flag is "yes"."""
    try:
        words = shlex.split(command)
    except ValueError:  # of other code, which may have cut it
        return {"command": command}
    found: dict[str, list[str]] = {}
    name = ""
    for word in words:
        option, is_given, value = word.partition("=")
        if word.startswith("--"):
            name = option
            found.setdefault(name, []).extend([value] if is_given else [])
        elif name:
            found[name].append(word)
    return {n: " ".join(v) or "yes" for n, v in found.items() if n not in _OF_THE_FILES}


def _steps(evaluation: Evaluation) -> dict[str, str]:
    """Return the steps of each attack of a threat model, "10" or "10, 100"."""
    found: dict[str, set[int]] = {}
    for row in evaluation.rows:
        if row.steps:
            found.setdefault(f"steps of {row.threat} {row.attack}", set()).add(row.steps)
    return {name: ", ".join(map(str, sorted(steps))) for name, steps in found.items()}
