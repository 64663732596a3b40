"""How options are read: defaults, values and mistakes, options that may stand alone."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path

import pytest

from ansm_plugin.cli import main
from ansm_plugin.commands.options import (
    REQUIRED,
    add_options,
    flag,
    group,
    option,
    parsed,
    positional,
    record,
)
from ansm_plugin.commands.values import finite, names, path, positive
from ansm_plugin.errors import ConfigError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of several commands."""

    size: int = option(7, parse=positive, metavar="N", help="of all (default: {default})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Some:
    """One option of each kind."""

    files: tuple[Path, ...] = positional(parse=path, several=True, metavar="FILE", help="to read")
    output: Path = option(REQUIRED, parse=path, help="to write")
    shared: Shared = group(Shared)
    parts: tuple[str, ...] = option(("a", "b"), parse=names, help="all of (default: {default})")
    more: tuple[str, ...] = option((), repeated=True, help="again and again")
    above: float | None = option(None, parse=finite, alone=0.5, help="alone it is {alone}")
    two_words: bool = flag(help="or not")
    command_line: str = record()


def parse(*arguments: str) -> Some:
    """Read `Some` as a command does."""
    return parsed("some", Some, arguments, "ansm some")


def test_what_is_left_out_has_the_default_of_its_field() -> None:
    options = parse("a.png", "--output", "out")
    assert options == Some(files=(Path("a.png"),), output=Path("out"), command_line="ansm some")
    assert (options.shared.size, options.parts, options.more) == (7, ("a", "b"), ())
    assert (options.above, options.two_words) == (None, False)


def test_what_is_given_is_read() -> None:
    given = ["--size", "3", "--parts", "c", "--more", "x", "--more", "y", "--above", "--two-words"]
    options = parse("a", "b", "--output", "out", *given)
    assert options.files == (Path("a"), Path("b"))
    assert options.shared == Shared(size=3)
    assert (options.parts, options.more) == (("c",), ("x", "y"))
    assert (options.above, options.two_words) == (0.5, True)
    assert parse("a", "--output", "o", "--above", "2").above == 2


def test_an_empty_list_of_names_is_given_all_the_same() -> None:
    assert parse("a", "--output", "o", "--parts", "").parts == ()


def test_the_help_fills_in_defaults_in_the_order_of_the_fields() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Some)
    told = parser.format_help()
    order = ["FILE", "--output", "--size N", "of all (default: 7)", "all of (default: a,b)"]
    order += ["--more", "alone it is 0.5", "--two-words"]
    listed = told[told.index("positional arguments") :]
    places = [listed.index(words) for words in order]
    assert places == sorted(places)
    assert "command_line" not in told


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "ansm some needs --output OUTPUT (to write)."),
        (["--output", "o"], "ansm some needs FILE (to read)."),
        (["a", "--output", "o", "--size", "0"], "ansm some: --size is '0'; it must be a whole"),
        (["a", "--output", "o", "--size"], "ansm some: --size has no value; write --size N."),
        (["a", "--output", "--size", "3"], "ansm some: --output has no value; write --output"),
        (["a", "--output", "o", "--two-words=yes"], "--two-words is 'yes'; it takes no value."),
        (["a", "--output", "o", "--tow-words"], "no option --tow-words. Nearest: --two-words."),
        (["a", "--output", "o", "-x"], "ansm some has no option -x. `ansm some --help` lists"),
    ],
)
def test_mistakes_are_told_in_one_style(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse(*arguments)


def test_values_may_be_below_zero_or_a_dash_and_words_have_underscores() -> None:
    options = parse("-", "--output", "-", "--above=-2", "--two_words")
    assert (options.files, options.output, options.above) == ((Path("-"),), Path("-"), -2)
    assert options.two_words
    assert parse("a", "--output", "o", "--above", "-0.5").above == -0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "many"], "--count is 'many'; it must be a whole number of 1 or more."),
        (["--white-box-steps", "-1"], "--white-box-steps is '-1'; it must be a whole number of 0"),
        (["--eps", "2,x"], "--eps is '2,x'; it must be numbers with commas: 2,4,8; eps is in grey"),
        (["--attack-precision", "fp16"], "--attack-precision is 'fp16'; allowed: fp32, bf16."),
        (["--localizer-mean", "0.5"], "it must be three numbers with commas: 0.485,0.456,0.406."),
        (["--seed", "1.5"], "--seed is '1.5'; it must be a whole number."),
    ],
)
def test_values_that_are_not_allowed_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ansm evaluate: ")
    assert message in said
    assert "usage" not in said


# --- an option that may stand alone ---------------------------------------------------------------


@pytest.mark.parametrize("word", ["photo.jpg", "0,5", "nan", "inf", "-", "1e", "folder/1", "2024"])
@pytest.mark.parametrize("others", [(), ("a.png",)])
def test_a_file_behind_an_option_that_stands_alone_stays_a_file(
    word: str, others: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2024").mkdir()  # a number, but there is a folder of that name
    options = parse(*others, "--output", "o", "--above", word)
    assert options.files == tuple(map(Path, [*others, word]))
    assert options.above == 0.5


@pytest.mark.parametrize("given", [("--above", "2"), ("--above=2",), ("--above", "2.0")])
def test_a_number_behind_it_is_its_value(given: tuple[str, ...]) -> None:
    for order in (("a", *given, "--output", "o"), ("--output", "o", *given, "a")):
        options = parse(*order)
        assert (options.files, options.above) == ((Path("a"),), 2)


def test_its_value_may_be_written_behind_an_equals_sign_whatever_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "2").touch()
    assert parse("2", "--output", "o", "--above=2").above == 2
    assert parse("--output", "o", "--above", "--", "2").files == (Path("2"),)


def test_files_may_stand_anywhere_among_the_options() -> None:
    options = parse("a", "--above", "b", "--output", "o", "c", "--two-words", "d")
    assert options.files == tuple(map(Path, "abcd"))
