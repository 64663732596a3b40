"""The options of every recipe: each field is one and explained, short words reach their fields."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from ansm_plugin.ansm import PRESETS
from ansm_plugin.commands.options import arguments_of, help_of
from ansm_plugin.commands.recipe_help import recipe_parser
from ansm_plugin.commands.recipe_options import field_paths, read_options, words_for, written
from ansm_plugin.commands.train_options import FIELDS, TrainOptions
from ansm_plugin.recipes.registry import recipe_module, recipe_names


@pytest.mark.parametrize("name", recipe_names())
def test_the_options_of_each_recipe_can_be_read(name: str) -> None:
    kind = recipe_module(name).RECIPE  # type: ignore[attr-defined]
    arguments = ["--output", "out", "--localizer", "x", "--steps", "3", "--images", "photos"]
    config, output, device, _ = read_options(kind, name, [*arguments, "--recursive"])
    assert (output, device) == (Path("out"), "auto")
    assert (config.localizer, config.data.images) == ("x", Path("photos"))
    assert config.data.recursive
    assert not read_options(kind, name, arguments).config.data.recursive
    switched = [*arguments, "--recursive", "--data.no-recursive"]
    assert not read_options(kind, name, switched).config.data.recursive
    fits = [value for key, value in flat(asdict(config)) if key.endswith("fit.steps")]
    assert fits
    assert set(fits) == {3}


@pytest.mark.parametrize("words", [["2,4.5", "pgd,hide"], ["2", "4.5", "pgd", "hide"]])
@pytest.mark.parametrize("short", [True, False])
def test_lists_have_commas_or_spaces(words: list[str], short: bool) -> None:
    kind = recipe_module("mgr").RECIPE
    eps, attacks = words[: len(words) // 2], words[len(words) // 2 :]
    named = ("--eps", "--attacks") if short else ("--attacks.eps-255", "--attacks.attacks")
    given = [named[0], *eps, named[1], *attacks, "--attacks.targets", "truth:0.5, blob", "--also"]
    config = read_options(kind, "mgr", [*given, "--mgr.taps=", "--output", "o"]).config
    assert (config.attacks.eps_255, config.attacks.attacks) == ((2.0, 4.5), ("pgd", "hide"))
    assert config.attacks.targets == ("truth:0.5", "blob")
    assert (config.also, config.mgr.taps) == ((), ())


def test_short_words_of_the_last_stage_reach_both_of_its_attacks() -> None:
    given = ["--eps", "3", "--attack-steps", "2", "--preset", "tiny", "--seed", "5"]
    found = read_options(recipe_module("hardened").RECIPE, "hardened", [*given, "--output", "o"])
    config = found.config
    assert (config.attacks.eps_255, config.hardened.eps_255) == ((3.0,), (3.0,))
    assert (config.attacks.steps, config.hardened.attack_steps) == (2, 2)
    assert (config.ansm, config.hardened.fit.seed) == ("tiny", 5)
    assert config.data.seed == 1  # other crops than the localizer's, whatever is drawn in training
    assert "--eps sets --attacks.eps-255 and --hardened.eps-255" in found.notes


def test_the_size_of_crops_is_that_of_their_style() -> None:
    kind, given = recipe_module("ffa").RECIPE, ["--crop-size", "96", "--output", "o"]
    planted = read_options(kind, "ffa", given).config.data
    assert (planted.forgeries.size, planted.photographic.size) == (96, 224)
    photographic = read_options(kind, "ffa", [*given, "--data.style", "photographic"]).config.data
    assert (photographic.forgeries.size, photographic.photographic.size) == (64, 96)


@pytest.mark.parametrize("name", recipe_names())
def test_every_field_is_an_option_and_explained(name: str) -> None:
    kind = recipe_module(name).RECIPE
    told = recipe_parser(name, kind).format_help()
    words = {word.name: word for word in words_for(kind)}
    for path in field_paths(kind):
        option = written(path)
        assert option in words
        assert f"  {option} " in told or f"  {option}\n" in told
    shown = {word for word, fields in FIELDS.items() if not {*fields}.isdisjoint(ends(kind))}
    assert all(f"  --{word.replace('_', '-')}" in told for word in shown - {"ansm"})
    assert ("  --ansm FILE" in told) == (name != "localizer")


def ends(kind: type) -> set[str]:
    """Return the last two parts of the paths of all fields, and their last ones."""
    parts = [path.split(".") for path in field_paths(kind)]
    return {".".join(p[-number:]) for p in parts for number in (1, 2, 3)}


def test_shapes_are_those_that_there_are() -> None:
    (field,) = (f for f in arguments_of(TrainOptions) if f.name == "preset")
    for name in PRESETS:
        assert name in help_of(field)


def flat(table: dict[str, object], above: str = "") -> list[tuple[str, object]]:
    """Return the dotted keys and values of nested dicts."""
    pairs: list[tuple[str, object]] = []
    for key, value in table.items():
        path = above + key
        pairs += flat(value, f"{path}.") if isinstance(value, dict) else [(path, value)]
    return pairs
