"""Arguments of a command read as values; every mistake is told in one style.

    read_words("evaluate", words_of(EvaluateOptions), ["--eps", "2,4"]) -> {"eps": (2.0, 4.0)}

Lists have commas. Where a command takes no words without an option, spaces will do as well, as
`ansm train` had them in 0.1: `--eps 2 4 8`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ansm_plugin.commands.renamed import modern, no_such_option
from ansm_plugin.errors import ConfigError
from ansm_plugin.system.paths import user_path

_NUMBER = re.compile(r"-[\d.]")


@dataclass(frozen=True, kw_only=True)
class Word:
    """One word that a command understands.

    Attributes:
        name: "--eps"; of a word without an option what stands for it in the help.
        key: what its value is kept as.
        parse: text -> value; it raises ValueError with what is allowed.
        shown: as the help has it: "--eps LEVELS".
        help: what it does.
        is_option: whether its name is typed.
        is_flag: whether it has no value; `alone` is what it stands for then.
        alone: value of an option that may stand alone; None demands one.
        is_list: whether spaces may stand for commas.
        may_be_empty: whether a list may have no entry.
        repeated: whether it may be given several times, or several such words; the value is a tuple
            of all.
        is_required: whether it must be given.
    """

    name: str
    key: str
    parse: Callable[[str], Any]
    shown: str
    help: str = ""
    is_option: bool = True
    is_flag: bool = False
    alone: Any = None
    is_list: bool = False
    may_be_empty: bool = False
    repeated: bool = False
    is_required: bool = False


def wants_help(arguments: Iterable[str]) -> bool:
    """Return whether help is asked for, before a "--"."""
    for word in arguments:
        if word == "--":
            return False
        if word in ("-h", "--help"):
            return True
    return False


def read_words(command: str, words: Sequence[Word], arguments: Sequence[str]) -> dict[str, Any]:
    """Return the values that were given, by key.

    Args:
        command: as it is typed behind "ansm", for messages: "evaluate", "train mgr".
        words: what it understands.
        arguments: what was typed behind it.

    Raises:
        ConfigError: an unknown option (nearest ones offered), a value that is missing or not
            allowed, a word too many, or something left out that is required.
    """
    reader = _Reader(command, words)
    reader.read(modern(command.partition(" ")[0], arguments))
    return reader.given


class _Reader:
    """Takes arguments one by one."""

    def __init__(self, command: str, words: Sequence[Word]) -> None:
        self.command, self.words = command, words
        self.options = {word.name: word for word in words if word.is_option}
        self.loose = [word for word in words if not word.is_option]
        self.given: dict[str, Any] = {}

    def read(self, arguments: Sequence[str]) -> None:
        rest, loose = deque(arguments), list[str]()
        while rest:
            argument = rest.popleft()
            if argument == "--":
                loose += rest
                break
            if not is_option(argument):
                loose.append(argument)
                continue
            name, equals, value = argument.partition("=")
            word = self.options.get(name) or self.options.get(name.replace("_", "-"))
            if word is None:
                raise ConfigError(no_such_option(self.command, name, self.options))
            self._keep(word, self._value(word, value if equals else None, rest))
        self._place(loose)
        self._require()

    def _value(self, word: Word, written: str | None, rest: deque[str]) -> Any:
        """Return the value of an option; takes from `rest` what belongs to it."""
        if word.is_flag:
            if written is not None:
                raise ConfigError(f"{self._of(word)} is {written!r}; it takes no value.")
            return word.alone
        if written is not None:
            return self._parsed(word, written)
        if word.alone is not None:
            return self._parsed(word, rest.popleft()) if _is_for(word, rest) else word.alone
        if word.is_list and not self.loose:
            parts = list[str]()
            while rest and not is_option(rest[0]):
                parts.append(rest.popleft())
            if parts or word.may_be_empty:
                return self._parsed(word, ",".join(parts))
        elif rest and not is_option(rest[0]):
            return self._parsed(word, rest.popleft())
        raise ConfigError(f"{self._of(word)} has no value; write {word.shown}.")

    def _parsed(self, word: Word, text: str) -> Any:
        try:
            return word.parse(text)
        except ValueError as error:
            said = f"{self._of(word)} is {text!r}; {error}"
            raise ConfigError(said if said.endswith(".") else f"{said}.") from error

    def _keep(self, word: Word, value: Any) -> None:
        if word.repeated:
            more = value if isinstance(value, tuple) else (value,)
            value = (*self.given.get(word.key, ()), *more)
        self.given[word.key] = value

    def _place(self, loose: Sequence[str]) -> None:
        """Keep the words that stand without an option, in their order."""
        left = list(loose)
        for word in self.loose:
            taken, left = (left, []) if word.repeated else (left[:1], left[1:])
            for text in taken:
                self._keep(word, self._parsed(word, text))
        if left:
            raise ConfigError(
                f"ansm {self.command} has no use for {left[0]!r}; `ansm {self.command} --help` "
                "lists what it takes."
            )

    def _require(self) -> None:
        for word in self.words:
            if word.is_required and word.key not in self.given:
                raise missing(self.command, word)

    def _of(self, word: Word) -> str:
        return f"ansm {self.command}: {word.name}"


def missing(command: str, word: Word) -> ConfigError:
    """Return the error of a command that lacks what it needs."""
    more = f" ({word.help})" if word.help else ""
    return ConfigError(f"ansm {command} needs {word.shown}{more}.")


def is_option(word: str) -> bool:
    """Return whether a word is an option, not a value: no number below 0, no lone dash."""
    return word.startswith("-") and word != "-" and not _NUMBER.match(word)


def _is_for(word: Word, rest: Sequence[str]) -> bool:
    """Return whether the next word is meant for an option that may stand alone; no file is."""
    if not rest or is_option(rest[0]):
        return False
    try:
        word.parse(rest[0])
    except ValueError:
        return False
    return not user_path(rest[0]).exists()
