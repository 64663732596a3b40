"""`ansm train RECIPE`: trains a localizer or its ANSM; its options come from the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.registry import Recipe, recipe_module, recipe_names
from ansm_plugin.system.lock import only_run_in
from ansm_plugin.system.text import say

OPTIONS = None  # each recipe has its own, so `run` is handed the arguments
_HELP = f"""usage: ansm train RECIPE --output DIR [--config FILE.toml] [options]

RECIPE is one of {", ".join(recipe_names())}.

--output DIR        receives the weights, the full config, and checkpoints to go on from
--config FILE.toml  a config as written by an earlier run; options override its fields
--localizer NAME    reference name, smp:..., timm:... or module:function, @weights.safetensors
--images DIR        forged images with --masks; alone, photographs that forgeries are made of
--masks DIR         masks with the same stems
--pattern GLOB      only images whose file name matches
--recursive         enter the folders in these
--steps N           of each stage

`ansm train RECIPE --help` shows every field of the recipe as an option.
"""


def run(arguments: Sequence[str]) -> None:
    """Train as `arguments` say: the recipe's name, then options.

    Raises:
        AnsmError: an option, a file or a folder cannot be used, or training stopped.
    """
    if not arguments or arguments[0].startswith("-"):
        print(_HELP)
        if "--help" in arguments or "-h" in arguments:
            return
        raise ConfigError(f"no recipe was given; allowed: {', '.join(recipe_names())}.")
    name = arguments[0]
    _train(recipe_module(name), name, arguments[1:])


def _train(recipe: Recipe, name: str, arguments: Sequence[str]) -> None:
    """Read the options of a recipe and run it, alone in its folder."""
    from rich.console import Console

    from ansm_plugin.commands.recipe_options import read_options
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.system.processes import processes

    config, output = read_options(recipe.RECIPE, name, arguments)
    with only_run_in(output), show_progress(Console(stderr=True)) as progress:
        among = processes()  # waits for the first one, which has locked the folder
        among.wait()  # and cleared it, where the processes had met before
        path = recipe.run(config, output, progress)
    if among.is_first:
        say(f"wrote {path}")
