"""What is said of a localizer goes before what is found out, in Python and on the command line."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from ansm_plugin import LocalizerSpec, wrap_with_ansm
from ansm_plugin.backbones.reference import build_localizer
from ansm_plugin.cli import main
from ansm_plugin.commands import loading
from ansm_plugin.commands.fact_options import FactOptions
from ansm_plugin.commands.loading import load_defended, load_localizer
from ansm_plugin.commands.recipe_options import read_options
from ansm_plugin.commands.values import triple
from ansm_plugin.errors import ConfigError, LocalizerError
from ansm_plugin.localizer import stated as stated_module
from ansm_plugin.localizer.facts import Facts
from ansm_plugin.localizer.families import describe
from ansm_plugin.localizer.stated import stated
from ansm_plugin.localizer.traits import fingerprint
from ansm_plugin.recipes.ffa import FfaRecipe
from ansm_plugin.recipes.localizer import LocalizerRecipe
from ansm_plugin.weights.adapters import save_adapter
from ansm_plugin.weights.tensors import write_tensors

HALF = (0.5, 0.5, 0.5)
CODE = """
from torch import nn
from ansm_plugin import LocalizerSpec
SPEC = LocalizerSpec(mean=(0.5, 0.4, 0.3), std=(0.5, 0.5, 0.5), stride=8, taps=("0",))
def build():
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 1, 1)), SPEC
def alone():
    return nn.Conv2d(3, 1, 1)
def reversed_():
    return SPEC, nn.Conv2d(3, 1, 1)
def three():
    return nn.Conv2d(3, 1, 1), SPEC, 0
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the name of a module of the user's own code."""
    (tmp_path / "says_it.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "says_it"


# --- a function of the user's own that returns both ----------------------------------------------


def test_a_function_may_say_how_to_talk_to_its_model(mine: str) -> None:
    localizer = build_localizer(f"{mine}:build")
    spec = describe(localizer)  # no warning, which would be an error here
    assert (spec.mean, spec.stride, spec.taps) == ((0.5, 0.4, 0.3), 8, ("0",))
    assert wrap_with_ansm(localizer).spec == spec
    assert load_defended(f"{mine}:build", None, may_be_untrained=True).spec == spec


def test_it_is_said_of_the_model_in_any_wrapper_and_of_adapted_ones(
    mine: str, tmp_path: Path
) -> None:
    localizer = build_localizer(f"{mine}:build")
    spec = describe(localizer)
    assert describe(nn.DataParallel(localizer)) == spec
    tuned = build_localizer(f"{mine}:build")
    tuned.load_state_dict(localizer.state_dict())
    weights = tmp_path / "w.safetensors"
    write_tensors(localizer.state_dict(), weights, {})
    with torch.no_grad():
        tuned[0].bias.add_(1)  # type: ignore[index]
    adapter = save_adapter(tuned, localizer, tmp_path / "a.safetensors")
    adapted = build_localizer(f"{mine}:build@{weights}@{adapter}")
    assert fingerprint(adapted) == fingerprint(tuned)
    assert describe(adapted) == spec


@pytest.mark.parametrize(
    ("function", "given"),
    [("reversed_", r"\(LocalizerSpec, Conv2d\)"), ("three", "tuple")],
)
def test_anything_else_is_refused_with_both_ways(mine: str, function: str, given: str) -> None:
    with pytest.raises(LocalizerError, match=rf"returned {given}.*\(model, LocalizerSpec\(...\)\)"):
        build_localizer(f"{mine}:{function}")


def test_what_is_said_is_forgotten_with_the_model() -> None:
    gc.collect()
    before = len(stated_module._STATED)
    model = nn.Conv2d(3, 1, 1)
    stated_module.state(model, LocalizerSpec())
    assert stated(model) == LocalizerSpec()
    assert not any(name.startswith("_ansm") for name in vars(model))
    del model
    gc.collect()
    assert len(stated_module._STATED) == before


# --- single facts ---------------------------------------------------------------------------------


def test_facts_replace_what_was_found_and_nothing_else(unet: nn.Module) -> None:
    found = describe(unet)
    Facts(mean=HALF, stride=32).state(unet)
    expected = replace(found, mean=HALF, stride=32, normalisation=found.normalisation)
    source = describe(unet).normalisation
    assert describe(unet) == replace(expected, normalisation=source)
    assert source == f"mean explicit, std {found.normalisation}"


def test_what_is_said_is_no_more_warned_of(tiny: nn.Module) -> None:
    Facts(mean=HALF, std=HALF, taps=("features",)).state(tiny)
    assert describe(tiny).normalisation == "explicit"
    assert wrap_with_ansm(tiny).spec.taps == ("features",)


def test_what_is_still_guessed_is_warned_of(tiny: nn.Module) -> None:
    with pytest.warns(UserWarning, match="--localizer-mean and --localizer-std"):
        Facts(mean=HALF).state(tiny)


def test_nothing_said_looks_at_nothing(tiny: nn.Module) -> None:
    Facts().state(tiny)
    assert stated(tiny) is None


def test_a_fact_out_of_range_is_refused(unet: nn.Module) -> None:
    with pytest.raises(ConfigError, match="std above 0"):
        Facts(std=(0.0, 1.0, 1.0)).state(unet)


# --- on the command line --------------------------------------------------------------------------


def test_options_say_the_same(mine: str) -> None:
    options = FactOptions(localizer_mean=HALF, localizer_std=HALF, localizer_activation="sigmoid")
    spec = describe(load_localizer(f"{mine}:alone", options.facts))
    assert (spec.mean, spec.activation, spec.stride) == (HALF, "sigmoid", 1)


def test_three_numbers_are_three_numbers() -> None:
    assert triple("0.5,0.25, 1") == (0.5, 0.25, 1.0)
    for text in ("0.5", "0.5,0.5", "1,2,3,4", "a,b,c", ""):
        with pytest.raises(ValueError, match="three numbers with commas"):
            triple(text)


@pytest.mark.parametrize("written", [["0.5,0.25,1"], ["0.5", "0.25", "1"]])
@pytest.mark.parametrize("kind", [FfaRecipe, LocalizerRecipe])
def test_recipes_take_them_with_commas_or_spaces(kind: type, written: list[str]) -> None:
    arguments = ["--localizer-mean", *written, "--localizer-taps=a,b[1]", "--localizer-stride", "8"]
    config, *_ = read_options(kind, "x", ["--output", "there", *arguments])
    assert config.facts == Facts(mean=(0.5, 0.25, 1.0), taps=("a", "b[1]"), stride=8)


COMMANDS = {
    "localize": ["x.png", "--ansm", "x.safetensors"],
    "localize bare": ["x.png", "--bare"],
    "evaluate": ["--quick", "--count", "1"],
    "attack": [],
    "calibrate": ["--ansm", "x.safetensors"],
    "export": ["--ansm", "x.safetensors"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_a_localizer_take_them(
    command: str, mine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Facts | None] = []

    def stop(_: str, facts: Facts | None = None) -> None:
        seen.append(facts)
        raise ConfigError("far enough")

    monkeypatch.setattr(loading, "load_localizer", stop)
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (32, 32)).save("x.png")
    words = [command.split()[0], *COMMANDS[command], "--localizer", f"{mine}:alone"]
    words += ["--localizer-mean", "0.5,0.25,1", "--localizer-taps", "a,b", "--device", "cpu"]
    assert main([*words, "--output", "out.onnx"]) == 2
    assert seen == [Facts(mean=(0.5, 0.25, 1.0), taps=("a", "b"))]
