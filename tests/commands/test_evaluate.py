"""`ansm evaluate`: what its options decide, numbers, pictures and where they go."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ansm_plugin.cli import main
from ansm_plugin.commands.evaluate import EvaluateOptions
from ansm_plugin.commands.groups import ImageOptions, StrengthOptions
from ansm_plugin.data.pairs import Pair
from ansm_plugin.evaluation.config import full, quick

ONE_ATTACK = ("--attacks", "pgd", "--eps", "8", "--steps", "1")


@pytest.mark.usefixtures("packaged")
def test_evaluate_reads_pairs_and_writes_everything(
    pairs: list[Pair], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = ["--images", str(pairs[0].image.parent), "--masks", str(pairs[0].mask.parent)]
    results = ["--json", str(tmp_path / "new" / "r.json"), "--output", str(tmp_path / "out")]
    untuned = ("--baselines", "none")  # of three pairs none can be spared for tuning
    assert main(["evaluate", *folders, *results, *ONE_ATTACK, *untuned]) == 0
    written = json.loads((tmp_path / "new" / "r.json").read_text())
    assert written.keys() == {
        "localizer", "ansm", "images", "rows", "summary", "alarms", "command", "versions", "seed",
        "cost",
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
        arguments = [*folders, *options, "--json", str(results), *ONE_ATTACK, "--baselines", "none"]
        assert main(["evaluate", *arguments]) == 0
        assert json.loads(results.read_text())["images"] == number


@pytest.mark.usefixtures("packaged")
def test_evaluate_without_images_is_on_the_embedded_photographs(tmp_path: Path) -> None:
    results = tmp_path / "r.json"
    assert main(["evaluate", "--count", "5", "--json", str(results), *ONE_ATTACK]) == 0
    assert json.loads(results.read_text())["images"] == 5


@pytest.mark.usefixtures("packaged")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--attacks", "pdg"), "Nearest: pgd"),
        (("--eps", "two"), "2,4,8"),
        (("--eps", "0"), "above 0"),
        (("--steps", "0"), "not 1 or more"),
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
    assert main(["evaluate", "--localizer", name, "--count", "2", *ONE_ATTACK]) == 0
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
        strength=StrengthOptions(eps=(3.0,), steps=4),
        threat=("T0", "T5"),
        white_box_attacks=("cospgd",),
        white_box_steps=0,
        adaptive=(),
        precision="fp32",
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


def test_a_surrogate_adds_its_threat_unless_threats_are_named() -> None:
    assert EvaluateOptions(surrogate=("encoder",)).config().threats == (*full().threats, "T3")
    named = EvaluateOptions(surrogate=("encoder",), threat=("T0",), quick=True)
    assert named.config().threats == ("T0",)
