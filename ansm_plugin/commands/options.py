"""Options of a command as a dataclass: each field says how argparse shows and reads it.

    @dataclass(frozen=True, kw_only=True)
    class DemoOptions:
        images: int = option(96, parse=positive, metavar="N", help="crops (default: {default})")

Defaults stay in the dataclass: argparse is told what they are, never to fill them in. Imports
nothing heavy, so that help answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ansm_plugin.system.paths import user_path

Parser = argparse.ArgumentParser
REQUIRED = dataclasses.MISSING
T = TypeVar("T")

_ARGUMENT, _POSITIONAL, _GROUP, _RECORD = "argument", "positional", "group", "record"


def option(
    default: Any = REQUIRED,
    *,
    help: str,
    parse: Callable[[str], Any] | None = None,
    metavar: str | None = None,
    choices: Sequence[str] | None = None,
    alone: Any = None,
    repeated: bool = False,
) -> Any:
    """Return the field of an option `--name VALUE`; a field `name_` has its name from a keyword.

    Args:
        default: what the field holds where the option is left out; REQUIRED must be given. None
            leaves the choice to whoever is handed the options.
        help: what it does; "{default}" and "{alone}" in it become the values of these.
        parse: text -> value; None keeps the text.
        metavar: what stands for the value in the help; None takes the field's name.
        choices: the texts that are allowed; None allows all.
        alone: value of the option without a value; None demands one.
        repeated: whether it may be given several times; the field holds a tuple.
    """
    argument: dict[str, Any] = {"help": help, "type": parse, "metavar": metavar}
    argument |= {"choices": choices, "required": default is REQUIRED}
    if alone is not None:
        argument |= {"nargs": "?", "const": alone}
    if repeated:
        argument |= {"action": "append"}
    return dataclasses.field(default=default, metadata={_ARGUMENT: argument})


def flag(*, help: str) -> Any:
    """Return the field of an option `--name` without a value: False where it is left out."""
    argument = {"help": help, "action": "store_true"}
    return dataclasses.field(default=False, metadata={_ARGUMENT: argument})


def positional(
    *, help: str, parse: Callable[[str], Any], metavar: str | None = None, several: bool = False
) -> Any:
    """Return the field of an argument without a name.

    Args:
        help: what it is.
        parse: text -> value.
        metavar: what stands for it in the help; None takes the field's name.
        several: whether one or more may be given; the field holds a tuple.
    """
    argument: dict[str, Any] = {"help": help, "type": parse, "metavar": metavar}
    if several:
        argument |= {"nargs": "+"}
    return dataclasses.field(metadata={_ARGUMENT: argument, _POSITIONAL: True})


def group(kind: type) -> Any:
    """Return a field that holds options which several commands share: a dataclass of them."""
    return dataclasses.field(default_factory=kind, metadata={_GROUP: kind})


def record() -> Any:
    """Return a field that is no option: it receives the whole command line, for the results."""
    return dataclasses.field(default="", metadata={_RECORD: True})


def arguments_of(kind: type) -> list[dataclasses.Field[Any]]:
    """Return the fields that are options or positional, those of groups in their place."""
    found: list[dataclasses.Field[Any]] = []
    for field in dataclasses.fields(kind):
        if _GROUP in field.metadata:
            found += arguments_of(field.metadata[_GROUP])
        elif _ARGUMENT in field.metadata:
            found.append(field)
    return found


def help_of(field: dataclasses.Field[Any]) -> str:
    """Return the help text of an option, its default filled in."""
    argument = field.metadata[_ARGUMENT]
    text: str = argument["help"]
    return text.format(default=_shown(field.default), alone=_shown(argument.get("const")))


def name_of(field: dataclasses.Field[Any]) -> str:
    """Return how an option is written, "--cost-size"; of an argument without a name its field."""
    if field.metadata.get(_POSITIONAL, False):
        return field.name
    return "--" + field.name.rstrip("_").replace("_", "-")


def add_options(parser: Parser, kind: type) -> None:
    """Let a parser read the options of a dataclass, in the order of its fields."""
    for field in arguments_of(kind):
        name, is_positional = name_of(field), field.metadata.get(_POSITIONAL, False)
        argument = {**field.metadata[_ARGUMENT], "help": help_of(field)}
        if not is_positional:  # None: whatever is left out is the dataclass's to fill in
            argument |= {"dest": field.name, "default": None}
        parser.add_argument(name, **argument)


def made_explicit(kind: type, arguments: Sequence[str]) -> list[str]:
    """Give options that stand alone their value, where argparse would take the next word for it.

    `--abstain photo.jpg` becomes `--abstain=0 photo.jpg`. The next word is the value of the option
    if it can be read as one and no file has that name.
    """
    alone = {name_of(field): field for field in arguments_of(kind) if _is_alone(field)}
    explicit: list[str] = []
    for argument, following in itertools.zip_longest(arguments, arguments[1:], fillvalue="--"):
        field = alone.get(argument)
        if field is None or "--" in explicit or _is_value(field, following):
            explicit.append(argument)
        else:
            explicit.append(f"{argument}={_shown(field.metadata[_ARGUMENT]['const'])}")
    return explicit


def take_rest(kind: type, parsed: dict[str, Any], rest: Sequence[str]) -> str:
    """Add words that argparse left over to the files of a command, which it reads in one row only.

    Args:
        kind: the options.
        parsed: what argparse has read; receives the words.
        rest: what it could not place.

    Returns:
        what is wrong with them, "" where nothing is.
    """
    options = arguments_of(kind)
    several = [f for f in options if f.metadata[_ARGUMENT].get("nargs") == "+"]
    if several and not any(word.startswith("-") and word != "-" for word in rest):
        parsed[several[0].name] += map(several[0].metadata[_ARGUMENT]["type"], rest)
        return ""
    known = [name_of(f) for f in options if not f.metadata.get(_POSITIONAL, False)]
    unknown = [word.partition("=")[0] for word in rest if word.startswith("--")]
    near = [n for u in unknown for n in difflib.get_close_matches(u, known, n=1)]
    hint = f". Nearest: {', '.join(near)}" if near else ""
    return f"unrecognized arguments: {' '.join(rest)}{hint}"


def _is_alone(field: dataclasses.Field[Any]) -> bool:
    return "const" in field.metadata[_ARGUMENT]


def _is_value(field: dataclasses.Field[Any], word: str) -> bool:
    """Return whether a word behind an option is meant for it; a file of that name is not."""
    try:
        field.metadata[_ARGUMENT]["type"](word)
    except (argparse.ArgumentTypeError, ValueError):
        return False
    return not user_path(word).exists()


def read(kind: type[T], parsed: Mapping[str, Any], command_line: str) -> T:
    """Return the options that argparse has read; what was left out has its default.

    Args:
        kind: a dataclass whose fields come from this module.
        parsed: values by the names of fields, None where an option was left out.
        command_line: what a field of `record()` receives.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, kind)):
        value = parsed.get(field.name)
        if _GROUP in field.metadata:
            values[field.name] = read(field.metadata[_GROUP], parsed, command_line)
        elif _RECORD in field.metadata:
            values[field.name] = command_line
        elif value is not None:
            values[field.name] = tuple(value) if isinstance(value, list) else value
    return kind(**values)


def _shown(value: Any) -> str:
    """Return a default as it would be typed: "2,4,8", "0", "ansm-demo"."""
    if isinstance(value, tuple):
        return ",".join(map(_shown, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
