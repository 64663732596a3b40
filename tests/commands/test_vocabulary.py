"""One vocabulary: a word means the same on every command, and an old one says the new one."""

from __future__ import annotations

import dataclasses
import importlib
import itertools
from pathlib import Path
from typing import Any

import pytest

from ansm_plugin.cli import COMMANDS, main
from ansm_plugin.commands import info
from ansm_plugin.commands.options import arguments_of, help_of, name_of, shown_of, words_of
from ansm_plugin.commands.recipe_options import read_options
from ansm_plugin.commands.renamed import INSTEAD, RENAMED, SYNONYMS, modern, nearest_options
from ansm_plugin.commands.train_options import FIELDS, OF_THE_RUN, TrainOptions
from ansm_plugin.recipes.registry import recipe_module

Capture = pytest.CaptureFixture[str]
Field = dataclasses.Field[Any]


def kind_of(command: str) -> Any:
    """Return the options of a command; those of `train` are its short words."""
    module = importlib.import_module(f"ansm_plugin.commands.{command}")
    return module.OPTIONS or TrainOptions


OPTIONS = {command: arguments_of(kind_of(command)) for command in COMMANDS}
PAIRS = list(itertools.combinations(OPTIONS, 2))


def by_name(command: str) -> dict[str, Field]:
    return {name_of(field): field for field in OPTIONS[command]}


def sentence(field: Field) -> str:
    """Return the help of an option without its default and what is said behind that."""
    return help_of(field).partition(" (default:")[0]


# What the file or folder receives is said by each command.
RECEIVES = ("--output",)


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a} {b}" for a, b in PAIRS])
def test_a_word_means_the_same_on_two_commands(one: str, other: str) -> None:
    first, second = by_name(one), by_name(other)
    for name in first.keys() & second.keys():
        a, b = first[name], second[name]
        reads = [f.metadata["argument"].get(key) for f in (a, b) for key in ("type", "choices")]
        assert reads[:2] == reads[2:], name
        if name in RECEIVES:
            assert all(sentence(field).startswith("receives ") for field in (a, b))
        else:
            assert (sentence(a), shown_of(a)) == (sentence(b), shown_of(b)), name


@pytest.mark.parametrize(("one", "other"), PAIRS, ids=[f"{a} {b}" for a, b in PAIRS])
def test_two_commands_have_their_common_words_in_one_order(one: str, other: str) -> None:
    first, second = list(by_name(one)), list(by_name(other))
    assert [n for n in first if n in second] == [n for n in second if n in first]


# Word -> what its value is. A command may lack it, none may have it for something else.
WORDS = {
    "--images": "DIR",
    "--masks": "DIR",
    "--count": "N",
    "--ansm": "FILE",
    "--preset": "NAME",
    "--steps": "N",
    "--attack-steps": "N",
    "--eps": "LEVELS",
    "--attacks": "NAMES",
    "--batch-size": "N",
    "--precision": "{fp32,bf16}",
    "--attack-precision": "{fp32,bf16}",
    "--seed": "N",
    "--device": "NAME",
    "--localizer": "NAME",
    "--threshold": "P",
    "--json": "FILE",
    "--csv": "FILE",
}


def test_the_word_list() -> None:
    for command, word in itertools.product(COMMANDS, WORDS):
        field = by_name(command).get(word)
        assert field is None or shown_of(field) == f"{word} {WORDS[word]}", command
    trains = {"--steps", "--batch-size", "--precision", "--preset"}
    for command in COMMANDS:
        assert command == "train" or trains.isdisjoint(by_name(command))


def test_every_short_word_of_train_is_a_field_somewhere() -> None:
    keys = {field.name for field in arguments_of(TrainOptions)}
    assert FIELDS.keys() <= keys
    assert {*OF_THE_RUN} <= keys


# --- old words ------------------------------------------------------------------------------------

OLD = [(command, old) for command, table in RENAMED.items() for old in table]


@pytest.mark.parametrize(("command", "old"), OLD)
def test_an_old_word_works_and_says_the_new_one(command: str, old: str) -> None:
    new = RENAMED[command][old].new
    with pytest.warns(UserWarning, match=f"ansm {command} {old} is {new} now; .* goes in 0.3"):
        assert modern(command, [old, "3"]) == [new, "3"]
    with pytest.warns(UserWarning, match=new):
        assert modern(command, ["a", f"{old}=3"]) == ["a", f"{new}=3"]
    assert modern(command, ["--", old, "3"]) == ["--", old, "3"]
    assert new in {word.name for word in words_of(kind_of(command))}


def test_an_old_word_is_warned_of_on_stderr(tmp_path: Path, capsys: Capture) -> None:
    nowhere = ["--images", str(tmp_path / "none"), "--output", str(tmp_path / "o")]
    assert main(["attack", "--steps", "3", *nowhere]) == 2
    said = capsys.readouterr().err
    assert "warning: ansm attack --steps is --attack-steps now; the old word goes in 0.3." in said


def test_a_count_of_the_demo_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "7").mkdir()
    assert modern("demo", ["--images", "7"]) == ["--images", "7"]


def test_a_shape_is_told_from_a_file(tmp_path: Path) -> None:
    kind, file = recipe_module("two-stage").RECIPE, tmp_path / "a.safetensors"
    with pytest.warns(UserWarning, match="--preset"):
        old = read_options(kind, "two-stage", ["--ansm", "small?norm=batch", "--output", "o"])
    assert (old.config.ansm, old.config.start) == ("small?norm=batch", None)
    new = read_options(kind, "two-stage", ["--ansm", str(file), "--output", "o"]).config
    assert (new.ansm, new.start) == ("small", file)
    both = read_options(kind, "two-stage", ["--preset=base", "--start=b", "--output", "o"]).config
    assert (both.ansm, both.start) == ("base", Path("b"))


# --- words that never were ours -------------------------------------------------------------------


def test_a_synonym_leads_to_a_word_that_there_is() -> None:
    fields = [f"--{end}" for ends in FIELDS.values() for end in ends]
    known = {name for command in COMMANDS for name in by_name(command)} | {*fields}
    known |= {"--fit.learning-rate"}
    for meant in SYNONYMS.values():
        assert {*meant} <= known


def test_what_is_said_instead_is_of_words_that_are_not_there() -> None:
    for command, word in INSTEAD:
        assert word not in by_name(command)


def test_a_word_may_be_anything() -> None:
    assert nearest_options("--" + "x" * 10_000, ["--eps"]) == []
    assert nearest_options("--", ["--eps"]) == []


def test_help_may_stand_anywhere_but_behind_two_dashes(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []
    monkeypatch.setattr(info, "run", lambda options: seen.append(options.file))
    assert main(["info", "file", "--bogus", "-h"]) == 0
    assert "usage: ansm info" in capsys.readouterr().out
    assert main(["info", "--", "--help"]) == 0
    assert seen == [Path("--help")]
