"""Options of `ansm train RECIPE`: short words, every field of the recipe, and a TOML file."""

from __future__ import annotations

import dataclasses
import math
import operator
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from ansm_plugin.commands.options import words_of
from ansm_plugin.commands.reading import Word, missing, read_words
from ansm_plugin.commands.recipe_values import or_none, reading_of
from ansm_plugin.commands.train_options import OF_THE_RUN, TrainOptions, fields_of
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.config import load_config

C = TypeVar("C")
_EPOCHS = "epochs"


class Training(NamedTuple):
    """What the command line asks for.

    Attributes:
        config: of the recipe.
        output: folder of the results.
        device: what computes.
        notes: what is said of words that set several fields.
    """

    config: Any
    output: Path
    device: str
    notes: tuple[str, ...] = ()


def read_options(kind: type, name: str, arguments: Sequence[str]) -> Training:
    """Return what the arguments of `ansm train NAME` ask for.

    Args:
        kind: the config class of the recipe.
        name: of the recipe.
        arguments: what was typed behind it.

    Raises:
        ConfigError: an unknown option (nearest ones offered), a value of another type or out of
            range, the TOML file is wrong, or `--output` is missing.
    """
    command, words = f"train {name}", words_for(kind)
    # What is said of epochs comes before what is missing.
    optional = [dataclasses.replace(word, is_required=False) for word in words]
    given = read_words(command, optional, arguments)
    config = load_config(kind, given["config"]) if "config" in given else kind()
    paths = list(field_paths(kind))
    short = _short_words() & given.keys()
    spelt = {key: given[key] for key in given if key in paths and key not in short}
    sets = {word: _set_by(word, config, spelt) for word in given if word in short}
    values = {field: given[word] for word, fields in sets.items() for field in fields}
    config = with_fields(config, {**values, **spelt})
    if _EPOCHS in given:
        raise ConfigError(_no_epochs(name, config, given[_EPOCHS]))
    for word in words:
        if word.is_required and word.key not in given:
            raise missing(command, word)
    notes = [
        f"--{word.replace('_', '-')} sets {' and '.join(map(written, fields))}"
        for word, fields in sets.items()
        if len(fields) > 1
    ]
    return Training(config, given["output"], given.get("device", "auto"), tuple(notes))


def _set_by(word: str, config: Any, spelt: Mapping[str, Any]) -> list[str]:
    """Return the fields that a short word sets: none that is named, of crops those that are made.

    Args:
        word: the short word.
        config: before any option.
        spelt: values of the fields that options name.
    """
    fields = fields_of(word, list(field_paths(type(config))))
    return [path for path in fields if path not in spelt and _is_made(path, config, spelt)]


def _is_made(path: str, config: Any, spelt: Mapping[str, Any]) -> bool:
    for style, table in (("planted", "forgeries"), ("photographic", "photographic")):
        above, found, _ = path.partition(f"data.{table}.")
        if found:
            field = f"{above}data.style"
            return bool(spelt.get(field, operator.attrgetter(field)(config)) == style)
    return True


def _short_words() -> set[str]:
    return {word.key for word in words_of(TrainOptions)} - {*OF_THE_RUN}


def written(path: str) -> str:
    """Return how a field is typed: "--mgr.fit.batch-size"."""
    # The shape has its own word, for --ansm is a file on every command.
    return "--preset" if path == "ansm" else f"--{path.replace('_', '-')}"


def words_for(kind: type) -> list[Word]:
    """Return what `ansm train` understands for a recipe: short words first, then all fields."""
    paths = list(field_paths(kind))
    short = [_short(kind, word, paths) for word in words_of(TrainOptions)]
    taken = {word.name for word in words_of(TrainOptions)}
    spelt = [word for path in paths for word in _words_of_field(kind, path)]
    # Understood, to be answered with how many steps that is.
    epochs = Word(name="--epochs", key=_EPOCHS, parse=str, shown="--epochs N", may_be_empty=True)
    understood = [word for word in short if word is not None]
    return [*understood, *(word for word in spelt if word.name not in taken), epochs]


def _short(kind: type, word: Word, paths: Sequence[str]) -> Word | None:
    """Return a short word as a recipe has it; None where it does nothing there."""
    if word.key in OF_THE_RUN:
        return word
    fields = fields_of(word.key, paths)
    if not fields:
        return None
    may_be_none = type(None) in typing.get_args(hint_of(kind, fields[0]))
    return dataclasses.replace(word, parse=or_none(word.parse)) if may_be_none else word


def _words_of_field(kind: type, path: str) -> Iterator[Word]:
    hint = hint_of(kind, path)
    name, reading = written(path), reading_of(hint)
    if hint is bool:
        above, dot, last = name.removeprefix("--").rpartition(".")
        for switch, value in ((name, True), (f"--{above}{dot}no-{last}", False)):
            yield Word(name=switch, key=path, parse=str, shown=switch, is_flag=True, alone=value)
        return
    yield Word(
        name=name,
        key=path,
        parse=reading.parse,
        shown=f"{name} {reading.metavar}",
        is_list=reading.is_list,
        may_be_empty=reading.is_open,
    )


def field_paths(kind: type, above: str = "") -> Iterator[str]:
    """Yield the dotted path of every plain field of nested config dataclasses."""
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        hint, path = hints[field.name], above + field.name
        if dataclasses.is_dataclass(hint):
            yield from field_paths(cast(type, hint), f"{path}.")
        else:
            yield path


def hint_of(kind: type, path: str) -> Any:
    """Return the type of a field of nested config dataclasses."""
    for part in path.split("."):
        kind = typing.get_type_hints(kind)[part]
    return kind


def with_fields(config: C, values: Mapping[str, Any]) -> C:
    """Return a config with other values of fields, by their dotted paths.

    Raises:
        ConfigError: a value is out of its range.
    """
    here: dict[str, Any] = {}
    below: dict[str, dict[str, Any]] = {}
    for path, value in values.items():
        name, _, rest = path.partition(".")
        if rest:
            below.setdefault(name, {})[rest] = value
        else:
            here[name] = value
    here |= {name: with_fields(getattr(config, name), inner) for name, inner in below.items()}
    return dataclasses.replace(cast(Any, config), **here) if here else config


def precisions(config: Any) -> dict[str, str]:
    """Return the precision of each training and of the attacks on its crops, by what it is of."""
    found: dict[str, str] = {}
    for field in field_paths(type(config)):
        above, _, name = field.rpartition(".")
        if name == "precision":
            part = above.removesuffix("fit").rstrip(".") or "training"
            found[part] = operator.attrgetter(field)(config)
    return found


def _no_epochs(name: str, config: Any, given: str) -> str:
    """Return the message for --epochs: how many steps an epoch is in each stage."""
    paths = list(field_paths(type(config)))
    count = operator.attrgetter(fields_of("count", paths)[0])(config)
    epochs = int(given) if given.isdecimal() else 1
    told = []
    for steps, batch in zip(fields_of("steps", paths), fields_of("batch_size", paths), strict=True):
        size = operator.attrgetter(batch)(config)
        needed = epochs * math.ceil(count / size)
        told.append(f"{written(steps)} {needed} ({written(batch)} {size})")
    what = "one epoch is" if epochs == 1 else f"{epochs} epochs are"
    return (
        f"ansm train {name} has no option --epochs: training is counted in steps. With "
        f"--data.count {count}, {what} {' and '.join(told)}."
    )
