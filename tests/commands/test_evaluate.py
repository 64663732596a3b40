"""`ansm evaluate`: what its options decide, numbers, pictures and where they go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansm_plugin.cli import main
from ansm_plugin.commands.evaluate import EvaluateOptions
from ansm_plugin.commands.groups import AimOptions, ImageOptions, StrengthOptions
from ansm_plugin.data.pairs import Pair
from ansm_plugin.errors import ConfigError
from ansm_plugin.evaluation.config import full, quick

ONE_ATTACK = ("--attacks", "pgd", "--eps", "8", "--attack-steps", "1", "--aims", "none")
SHORT = ("--white-box-steps", "1", "--white-box-restarts", "1")  # not 100 steps, 3 runs, 3 losses


@pytest.mark.usefixtures("packaged")
def test_evaluate_reads_pairs_and_writes_everything(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]
    results = ["--json", str(tmp_path / "new" / "r.json"), "--output", str(tmp_path / "out")]
    untuned = ("--baselines", "none")  # of three pairs none can be spared for tuning
    assert main(["evaluate", *folders, *results, *ONE_ATTACK, *SHORT, *untuned]) == 0
    written = json.loads((tmp_path / "new" / "r.json").read_text())
    assert written.keys() == {
        "localizer", "ansm", "images", "rows", "summary", "alarms", "command", "versions", "seed",
        "cost", "alarm_names", "transplant", "computed",
    }  # fmt: skip
    assert written["images"] == 3
    assert [row["eps_255"] for row in written["rows"] if row["threat"] == "T1"] == [8, 8]
    assert len(list((tmp_path / "out" / "panels").iterdir())) == 3
    assert "and 4 pictures" in capsys.readouterr().out


@pytest.mark.usefixtures("packaged")
def test_evaluate_counts_and_matches_names(pairs: list[Pair], tmp_path: Path) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]
    results = tmp_path / "r.json"
    for options, number in ((("--count", "2"), 2), (("--pattern", "b*"), 1)):
        arguments = [*folders, *options, "--json", str(results), *ONE_ATTACK]
        arguments += ["--baselines", "none", "--threat", "T0,T1"]
        assert main(["evaluate", *arguments]) == 0
        assert json.loads(results.read_text())["images"] == number


@pytest.mark.usefixtures("packaged")
def test_evaluate_without_images_is_on_the_embedded_photographs(tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    little = ("--threat", "T0,T1", "--baselines", "jpeg")
    assert main(["evaluate", "--count", "5", "--json", str(results), *ONE_ATTACK, *little]) == 0
    assert json.loads(results.read_text())["images"] == 5


@pytest.mark.usefixtures("packaged")
def test_wrong_masks_are_told_on_authentic_crops_beside_the_forged_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A quarter as many; they are framed, and give the share of false positives."""
    results = tmp_path / "r.json"
    aims = ("--aims", "decoy,swap", "--aim-attacks", "fgsm", "--white-box-steps", "0")
    told = (*ONE_ATTACK[:-2], *aims, "--baselines", "none", "--threat", "T0,T1")
    assert main(["evaluate", "--count", "8", "--json", str(results), *told]) == 0
    found = json.loads(results.read_text())
    assert found["images"] == 10
    assert {row["images"] for row in found["framing"]} == {2}
    assert [row.get("aim") for row in found["framing"]] == [None, None, "decoy", "decoy"]
    assert {row["images"] for row in found["rows"]} == {8}
    assert {row.get("aim") for row in found["rows"]} == {None, "decoy", "swap"}
    assert "false_positive_share" in found["rows"][0]
    assert "inside that mask" in capsys.readouterr().out


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attacks", "pdg"), "Nearest: pgd"),
        (("--eps", "two"), "2,4,8"),
        (("--eps", "0"), "above 0"),
        (("--attack-steps", "0"), "1 or more"),
        (("--masks", "masks"), "without images"),
        (("--images", "nowhere"), "no folder nowhere"),
        (("--localizer", "forensic-unte"), "Nearest: forensic-unet"),
        (("--ansm", "none.safetensors"), "no weights file"),
    ],
)
def test_mistakes_in_evaluate_get_one_message(
    options: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_another_localizer_is_evaluated_with_an_untrained_ansm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "smp:Unet?encoder_name=tu-regnetx_002&encoder_depth=3&decoder_channels=16,16,16"
    little = ("--threat", "T0,T1", "--baselines", "none")
    assert main(["evaluate", "--localizer", name, "--count", "2", *ONE_ATTACK, *little]) == 0
    said = capsys.readouterr().err
    assert "has random weights" in said
    assert "untrained" in said


# --- what the options decide ----------------------------------------------------------------------


def test_without_options_an_evaluation_is_full_or_quick() -> None:
    assert EvaluateOptions().config() == full()
    assert EvaluateOptions(quick=True).config() == quick()
    assert (EvaluateOptions().count, EvaluateOptions().rivals) == (None, ("cheap",))
    assert (EvaluateOptions(quick=True).count, EvaluateOptions(quick=True).rivals) == (
        16,
        ("jpeg",),
    )


def test_options_come_before_the_effort() -> None:
    options = EvaluateOptions(
        quick=True,
        attacks=("fgsm",),
        strength=StrengthOptions(eps=(3.0,), attack_steps=4),
        threat=("T0", "T5"),
        white_box_attacks=("cospgd",),
        white_box_steps=0,
        adaptive=(),
        attack_precision="fp32",
        tile=512,
        seed=9,
        source=ImageOptions(count=3),
        baselines=("none",),
    )
    assert options.config() == replace(
        quick(),
        attacks=("fgsm",),
        eps_255=(3.0,),
        steps=4,
        threats=("T0", "T5"),
        white_box_attacks=("cospgd",),
        white_box_steps=0,
        adaptive=(),
        attack_precision="fp32",
        tile=512,
        seed=9,
    )
    assert (options.count, options.rivals) == (3, ("none",))


def test_empty_lists_of_threats_attacks_and_baselines_are_those_of_the_effort() -> None:
    options = EvaluateOptions(threat=(), white_box_attacks=(), baselines=())
    assert options.config() == full()
    assert options.rivals == ("cheap",)


def test_aims_are_those_of_the_effort_unless_they_are_named() -> None:
    named = AimOptions(aims=("mark",), aim_attacks=("pgd",))
    assert EvaluateOptions(aim=named).config() == replace(
        full(), aims=("mark",), aim_attacks=("pgd",)
    )
    assert EvaluateOptions(aim=AimOptions(aims=())).config() == full()
    none = EvaluateOptions(aim=AimOptions(aims=("none",))).config()
    assert none == replace(full(), aims=())


def test_modules_of_the_attackers_own_add_their_threat() -> None:
    files = ("a.safetensors", "b.safetensors")
    assert EvaluateOptions(own_modules=files).config().threats == (*full().threats, "T3.5")
    both = EvaluateOptions(own_modules=files, surrogate=("encoder",), quick=True).config()
    assert both.threats == (*quick().threats, "T3", "T3.5")
    with pytest.raises(ConfigError, match="--own-modules A"):
        EvaluateOptions(threat=("T0", "T3.5")).config()


def test_the_white_box_is_a_bound_unless_it_is_made_cheaper() -> None:
    assert EvaluateOptions().config().white_box == "bound"
    assert EvaluateOptions().config().white_box_eps_255 == (1, 2, 4, 8)
    for cheaper in (
        EvaluateOptions(quick=True),
        EvaluateOptions(white_box_steps=99),
        EvaluateOptions(white_box_restarts=2),
        EvaluateOptions(white_box_attacks=("apgd-margin", "apgd-js")),
    ):
        assert cheaper.config().white_box == "estimate"
    assert EvaluateOptions(white_box_steps=0).config().white_box is None


@pytest.mark.usefixtures("packaged")
def test_files_of_modules_are_read_before_anything_is_fitted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["evaluate", "--count", "2", "--own-modules", "none.safetensors"]) == 2
    assert "no weights file none.safetensors" in capsys.readouterr().err


def test_a_surrogate_adds_its_threat_unless_threats_are_named() -> None:
    assert EvaluateOptions(surrogate=("encoder",)).config().threats == (*full().threats, "T3")
    named = EvaluateOptions(surrogate=("encoder",), threat=("T0",), quick=True)
    assert named.config().threats == ("T0",)


# The least that each command does.
LEAST = {
    "evaluate": (*ONE_ATTACK, "--threat", "T0,T1", "--baselines", "none"),
    "attack": ("--attacks", "pgd", "--eps", "8", "--attack-steps", "1"),
}


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("command", ["evaluate", "attack"])
def test_what_is_left_out_is_said_once_and_in_the_json(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    images, masks = pairs[0].image.parent, pairs[0].mask.parent
    (images / "notes.txt").touch()
    (masks / "day1").mkdir()
    pairs[2].mask.rename(masks / "z.png")
    folders = ["--images", str(images), "--masks", str(masks), "--json", str(tmp_path / "r.json")]
    output = ["--output", str(tmp_path / "out")]
    assert main([command, *folders, *output, *LEAST[command]]) == 0
    left_out = json.loads((tmp_path / "r.json").read_text())["left_out"]
    assert [entry["file"] for entry in left_out] == ["notes.txt", "c.png", "day1/", "z.png"]
    said = capsys.readouterr().err
    assert said.count("left out 1 of 4 entries") == 2
    assert said.count("c.png") == said.count("z.png") == 1


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize("command", ["evaluate", "attack"])
def test_recursive_keeps_equal_names_apart(pairs: list[Pair], tmp_path: Path, command: str) -> None:
    for pair in pairs[1:]:
        for path in pair:
            (path.parent / path.stem).mkdir()
            path.rename(path.parent / path.stem / "a.png")
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]
    output = tmp_path / "out"
    results = ["--json", str(tmp_path / "r.json"), "--output", str(output)]
    assert main([command, *folders, *results, *LEAST[command], "--recursive"]) == 0
    written = json.loads((tmp_path / "r.json").read_text())
    assert "left_out" not in written
    if command == "evaluate":
        assert written["images"] == 3
    else:
        names = {path.name for path in (output / "Tp").iterdir()}
        assert names == {"a_pgd-8.png", "b-a_pgd-8.png", "c-a_pgd-8.png"}
