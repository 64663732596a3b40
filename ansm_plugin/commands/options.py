"""Options of a command as a dataclass: each field says how it is read, and how the help shows it.

    @dataclass(frozen=True, kw_only=True)
    class DemoOptions:
        count: int = option(96, parse=positive, metavar="N", help="crops (default: {default})")

Defaults stay in the dataclass. `reading` reads what is typed; argparse prints the help, and does
nothing else. Imports nothing heavy, so that help answers at once.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

from ansm_plugin.commands.reading import Word, read_words
from ansm_plugin.commands.values import grey_levels, names, numbers, one_of, triple

Parser = argparse.ArgumentParser
REQUIRED = dataclasses.MISSING
T = TypeVar("T")

_ARGUMENT, _POSITIONAL, _GROUP, _RECORD = "argument", "positional", "group", "record"
_LISTS = (names, numbers, grey_levels, triple)


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
        parse: text -> value, ValueError with what is allowed; None keeps the text.
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
    *,
    help: str,
    parse: Callable[[str], Any],
    metavar: str | None = None,
    several: bool = False,
    default: Any = REQUIRED,
) -> Any:
    """Return the field of an argument without a name.

    Args:
        help: what it is.
        parse: text -> value.
        metavar: what stands for it in the help; None takes the field's name.
        several: whether one or more may be given; the field holds a tuple.
        default: what the field holds where it is left out; REQUIRED must be given.
    """
    argument: dict[str, Any] = {"help": help, "type": parse, "metavar": metavar}
    argument |= {"required": default is REQUIRED}
    if several or default is not REQUIRED:
        argument |= {"nargs": "+" if several else "?"}
    return dataclasses.field(default=default, metadata={_ARGUMENT: argument, _POSITIONAL: True})


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
    return text.format(default=typed(field.default), alone=typed(argument.get("const")))


def name_of(field: dataclasses.Field[Any]) -> str:
    """Return how an option is written, "--cost-size"; of an argument without a name its field."""
    if field.metadata.get(_POSITIONAL, False):
        return field.name
    return "--" + field.name.rstrip("_").replace("_", "-")


def shown_of(field: dataclasses.Field[Any]) -> str:
    """Return an option as it is typed, with what stands for its value: "--eps LEVELS"."""
    argument, name = field.metadata[_ARGUMENT], name_of(field)
    if argument.get("action") == "store_true":
        return name
    value = argument.get("metavar") or _listed(argument.get("choices")) or field.name.upper()
    return f"{name} {value}" if name.startswith("--") else value


def _listed(choices: Sequence[str] | None) -> str:
    return f"{{{','.join(choices)}}}" if choices else ""


def add_options(
    parser: Any, kind: type, behind: Callable[[str], str | None] = lambda _: ""
) -> None:
    """Let the help of a parser show the options of a dataclass, in the order of its fields.

    Args:
        parser: or a group of one.
        kind: the options.
        behind: name of a field -> what is said behind its help; None leaves it out.
    """
    for field in arguments_of(kind):
        more = behind(field.name)
        if more is not None:
            _add(parser, field, help_of(field) + more)


def _add(parser: Any, field: dataclasses.Field[Any], said: str) -> None:
    argument, said = field.metadata[_ARGUMENT], said.replace("%", "%%")
    name, _, value = shown_of(field).partition(" ")
    nargs = argument.get("nargs")
    if field.metadata.get(_POSITIONAL, False):
        parser.add_argument(field.name, metavar=name, nargs=nargs, help=said)
    elif not value:
        parser.add_argument(name, action="store_true", help=said)
    else:
        parser.add_argument(name, dest=field.name, metavar=value, nargs=nargs, help=said)


def words_of(kind: type) -> list[Word]:
    """Return what a command with these options understands."""
    return [_word(field) for field in arguments_of(kind)]


def _word(field: dataclasses.Field[Any]) -> Word:
    argument = field.metadata[_ARGUMENT]
    parse, choices = argument.get("type") or str, argument.get("choices")
    is_option = not field.metadata.get(_POSITIONAL, False)
    is_flag = argument.get("action") == "store_true"
    return Word(
        name=name_of(field) if is_option else shown_of(field),
        key=field.name,
        parse=one_of(choices) if choices else parse,
        shown=shown_of(field),
        help=help_of(field),
        is_option=is_option,
        is_flag=is_flag,
        alone=True if is_flag else argument.get("const"),
        is_list=parse in _LISTS,
        repeated=argument.get("action") == "append" or argument.get("nargs") == "+",
        is_required=argument.get("required", False),
    )


def parsed(command: str, kind: type[T], arguments: Sequence[str], command_line: str) -> T:
    """Return the options of a command as its dataclass.

    Args:
        command: its name, for messages.
        kind: a dataclass whose fields come from this module.
        arguments: what was typed behind the name.
        command_line: what a field of `record()` receives.

    Raises:
        ConfigError: a mistake in the arguments.
    """
    return read(kind, read_words(command, words_of(kind), arguments), command_line)


def read(kind: type[T], given: Mapping[str, Any], command_line: str) -> T:
    """Return options of values that were read; what was left out has its default.

    Args:
        kind: a dataclass whose fields come from this module.
        given: values by the names of fields.
        command_line: what a field of `record()` receives.
    """
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cast(Any, kind)):
        if _GROUP in field.metadata:
            values[field.name] = read(field.metadata[_GROUP], given, command_line)
        elif _RECORD in field.metadata:
            values[field.name] = command_line
        elif field.name in given:
            values[field.name] = given[field.name]
    return kind(**values)


def typed(value: Any) -> str:
    """Return a default as it would be typed: "2,4,8", "0", "ansm-demo"."""
    if isinstance(value, tuple):
        return ",".join(map(typed, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
