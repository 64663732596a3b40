"""Options of the commands: each is told of, its default stands once, and reading them is light."""

from __future__ import annotations

import dataclasses
import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ansm_plugin.cli import COMMANDS, main
from ansm_plugin.commands.options import REQUIRED, arguments_of, help_of, name_of, parsed
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
    assert COMMANDS[command]
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
    "evaluate attack_steps": full().steps,
    "evaluate threat": full().threats,
    "evaluate white_box_attacks": full().white_box_attacks,
    "evaluate white_box_steps": full().white_box_steps,
    "evaluate white_box_restarts": full().white_box_restarts,
    "evaluate aims": full().aims,
    "evaluate aim_attacks": full().aim_attacks,
    "evaluate attack_precision": full().attack_precision,
    "evaluate tile": full().tile,
    "evaluate baselines": module_of("evaluate").EvaluateOptions().rivals,
    "attack attacks": AttackPlan().attacks,
    "attack eps": AttackPlan().eps_255,
    "attack attack_steps": AttackPlan().steps,
}
WORDS = {
    "what ANSM_LOCALIZER names in the environment",  # else photo
    "that of the localizer's card",
    "the size of the first images",
    "free where the localizer allows it",
    "what `ansm models` says of one that comes with its localizer",
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


def test_lists_have_commas_or_spaces_where_no_word_stands_alone() -> None:
    kind = module_of("evaluate").OPTIONS
    for eps, attacks in ((["2,4"], ["pgd,hide"]), (["2", "4"], ["pgd", "hide"])):
        given = ["--attacks", *attacks, "--eps", *eps, "--surrogate", "a,b", "--surrogate", "c"]
        options = parsed("evaluate", kind, [*given, "--quick"], "")
        assert options.strength.eps == (2, 4)
        assert (options.attacks, options.surrogate) == (("pgd", "hide"), ("a", "b", "c"))
    taps = parsed("doctor", module_of("doctor").OPTIONS, ["--localizer-taps", "a,b", "name"], "")
    assert (taps.said.localizer_taps, taps.model) == (("a", "b"), "name")


# --- paths and empty values -----------------------------------------------------------------------

PATHS = [(c, f) for c, f in ALL if "Path" in str(f.type)]


@pytest.mark.parametrize(("command", "field"), PATHS, ids=[f"{c} {f.name}" for c, f in PATHS])
def test_every_path_is_read_as_a_shell_would(
    command: str, field: Field, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert field.metadata["argument"]["type"]("~/x") == tmp_path / "x"
    with pytest.raises(ValueError, match="it is empty"):
        field.metadata["argument"]["type"]("")


@pytest.mark.parametrize("option", ["--output", "--localizer", "--ansm", "--images", "--json"])
def test_a_value_of_an_unset_variable_is_refused(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--output=$UNSET` would write here, `--localizer=$UNSET` take the embedded one."""
    assert main(["evaluate", f"{option}="]) == 2
    assert f"ansm evaluate: {option} is ''; it is empty; give a" in capsys.readouterr().err


def test_the_photograph_behind_abstain_is_no_threshold() -> None:
    for order in (
        ["--abstain", "no.jpg", "--output", "o"],
        ["--output", "o", "--abstain", "no.jpg"],
    ):
        given = parsed("localize", module_of("localize").OPTIONS, order, "")
        assert (given.photos, given.abstain) == ((Path("no.jpg"),), 0.0)


def test_names_of_options_are_written_with_dashes() -> None:
    written = {name_of(field) for _, field in ALL}
    assert {"--cost-size", "--ansm-precision", "--for", "photos"} <= written


# --- radii ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["evaluate", "attack"])
@pytest.mark.parametrize("eps", ["0.03", "0.0313725", "8,0.03", "1e-3", "nan"])
def test_a_share_of_255_is_no_radius(
    command: str, eps: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([command, "--output", str(tmp_path / "o"), "--eps", eps]) == 2
    said = capsys.readouterr().err
    assert "grey levels" in said
    assert eps == "nan" or "written 8" in said
    assert "warning" not in said
    assert not (tmp_path / "o").exists()


def test_a_fraction_is_answered_by_how_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--eps", "8/255"]) == 2
    assert "eps is in grey levels of 255: 8/255 is --eps 8" in capsys.readouterr().err


def test_radii_below_half_a_level_are_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", "--output", "o", "--eps", "0.3", "--localizer", "nothing"]) == 2
    said = capsys.readouterr().err
    assert "warning: --eps 0.3 is lost where pixels have 8 bits" in said


# --- photographs without masks --------------------------------------------------------------------


def test_what_is_made_of_photographs_is_said_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = str(tmp_path / "nothing")
    assert main(["attack", "--images", nothing, "--output", str(tmp_path / "o")]) == 2
    said = capsys.readouterr().out
    assert (
        f"no --masks were given, so 96 forged crops are made of the photographs in {nothing}"
        in said
    )
    assert "attacks 1 x radii 3: 288 images will be written" in said
    assert main(["evaluate", "--images", nothing, "--quick"]) == 2
    assert "so 16 forged crops are made" in capsys.readouterr().out


@pytest.mark.parametrize("given", [(), ("--images", "a", "--masks", "b"), ("--images", "a.json")])
def test_nothing_is_said_where_images_are_taken_as_they_are(given: tuple[str, ...]) -> None:
    options = parsed("attack", module_of("attack").OPTIONS, [*given, "--output", "o"], "")
    assert options.source.forged(96) == ""
