"""Options of the commands: each is told of, its default stands once, and reading them is light."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansm_plugin.cli import COMMANDS, main
from ansm_plugin.commands.options import (
    REQUIRED,
    add_options,
    arguments_of,
    flag,
    group,
    help_of,
    option,
    positional,
    read,
    record,
)
from ansm_plugin.commands.values import names, positive
from ansm_plugin.data.tiles import TILE
from ansm_plugin.evaluation.config import ADAPTIVE, EXPECTATION, full
from ansm_plugin.evaluation.manifest import AttackPlan

Field = dataclasses.Field[Any]


def module_of(command: str) -> Any:
    """Return the module of a command."""
    return importlib.import_module(f"ansm_plugin.commands.{command}")


# `train` has none of its own: a recipe's config gives them.
ALL: list[tuple[str, Field]] = [
    (command, field)
    for command in COMMANDS
    if module_of(command).OPTIONS is not None
    for field in arguments_of(module_of(command).OPTIONS)
]
NAMED = [f"{command} {field.name}" for command, field in ALL]
# Their metavar, FILE.safetensors and FILE.onnx, says all that there is to say.
TOLD_BY_METAVAR = ("convert target", "export output")


# --- the commands as they are ---------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_importing_a_command_is_light(command: str) -> None:
    heavy = ("torch", "numpy", "PIL", "safetensors", "rich", "tyro")
    code = f"import sys, ansm_plugin.commands.{command}; print(*{{*{heavy}}} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_what_it_does_and_takes_its_options(command: str) -> None:
    module = module_of(command)
    assert module.SUMMARY
    assert module.run.__code__.co_argcount + module.run.__code__.co_kwonlyargcount == 1
    assert module.run.__defaults__ is module.run.__kwdefaults__ is None


@pytest.mark.parametrize(("command", "field"), ALL, ids=NAMED)
def test_every_option_has_a_help_text(command: str, field: Field) -> None:
    if f"{command} {field.name}" in TOLD_BY_METAVAR:
        assert str(field.metadata["argument"]["metavar"]).startswith("FILE.")
    else:
        assert help_of(field).strip()
        assert "{" not in help_of(field)


@pytest.mark.parametrize(("command", "field"), ALL, ids=NAMED)
def test_no_default_stands_twice(command: str, field: Field) -> None:
    """The help takes what the field holds; argparse fills in nothing."""
    own = not any(field.default is empty for empty in (REQUIRED, None, False, ()))
    written = field.metadata["argument"]["help"]
    assert ("{default}" in written) == own
    assert "default" not in field.metadata["argument"]
    if own:
        assert written.count("(default:") == written.count("(default: {default})") == 1


# What an option leaves to others where it is not given, by what its help says.
LEFT = {
    "localize tile": TILE,
    "evaluate attacks": full().attacks,
    "evaluate eps": full().eps_255,
    "evaluate steps": full().steps,
    "evaluate threat": full().threats,
    "evaluate white_box_attacks": full().white_box_attacks,
    "evaluate white_box_steps": full().white_box_steps,
    "evaluate precision": full().attack_precision,
    "evaluate tile": full().tile,
    "evaluate baselines": module_of("evaluate").EvaluateOptions().rivals,
    "evaluate seed": full().seed,
    "attack attacks": AttackPlan().attacks,
    "attack eps": AttackPlan().eps_255,
    "attack steps": AttackPlan().steps,
    "attack seed": AttackPlan().seed,
}
WORDS = {
    "the embedded one",
    "the size of the first images",
    "free where the localizer allows it",
    "all but eot",
    "0",  # of --abstain: its value alone
}


@pytest.mark.parametrize(("command", "field"), ALL, ids=NAMED)
def test_a_default_that_is_decided_elsewhere_is_told_truly(command: str, field: Field) -> None:
    said = re.search(r"\(default: (.+?)(?:[;)]|, )", help_of(field))
    if said is None or field.default is not None:
        return
    name = f"{command} {field.name}"
    if name not in LEFT:
        assert said[1] in WORDS
        return
    value = LEFT[name]
    texts = (
        [f"{v:g}" if isinstance(v, float | int) else v for v in value]
        if (isinstance(value, tuple))
        else [str(value)]
    )
    assert said[1] == ",".join(texts)


def test_all_adaptive_attacks_but_one_are_the_default() -> None:
    assert full().adaptive == tuple(name for name in ADAPTIVE if name != EXPECTATION)


def test_a_quick_evaluation_does_what_the_help_says() -> None:
    options = module_of("evaluate").EvaluateOptions(quick=True)
    config = options.config()
    (field,) = (field for command, field in ALL if (command, field.name) == ("evaluate", "quick"))
    told = f"{options.count} images, {', '.join(config.threats)}, JPEG alone as baseline, "
    assert help_of(field) == told + config.precision
    assert options.rivals == ("jpeg",)


# --- the machinery --------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shared:
    """Options of several commands."""

    size: int = option(7, parse=positive, metavar="N", help="of all (default: {default})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Some:
    """One option of each kind."""

    files: tuple[Path, ...] = positional(parse=Path, several=True, metavar="FILE", help="to read")
    output: Path = option(REQUIRED, parse=Path, help="to write")
    shared: Shared = group(Shared)
    parts: tuple[str, ...] = option(("a", "b"), parse=names, help="all of (default: {default})")
    more: tuple[str, ...] = option((), repeated=True, help="again and again")
    above: float | None = option(None, parse=float, alone=0.5, help="alone it is {alone}")
    two_words: bool = flag(help="or not")
    command_line: str = record()


def parse(*arguments: str) -> Some:
    """Read `Some` as a command does."""
    parser = argparse.ArgumentParser()
    add_options(parser, Some)
    return read(Some, vars(parser.parse_args(arguments)), "ansm some")


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
        (["a"], "the following arguments are required: --output"),
        (["--output", "o"], "the following arguments are required: FILE"),
        (["a", "--output", "o", "--size", "0"], "argument --size: 0 is not 1 or more"),
    ],
)
def test_mistakes_are_argparse_s_to_tell(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(*arguments)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "many"], "argument --count: invalid _positive value: 'many'"),
        (["--white-box-steps", "-1"], "argument --white-box-steps: -1 is below 0"),
        (["--eps", "2,x"], "argument --eps: '2,x' is not numbers with commas: 2,4,8"),
        (["--precision", "fp16"], "argument --precision: invalid choice: 'fp16'"),
    ],
)
def test_values_out_of_range_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *arguments]) == 2
    assert message in capsys.readouterr().err
