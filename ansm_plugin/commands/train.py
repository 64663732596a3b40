"""`ansm train RECIPE`: trains a localizer or its ANSM; its options come from the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.registry import Recipe, recipe_module, recipe_names
from ansm_plugin.system.text import say

OPTIONS = None  # each recipe has its own, so `run` is handed the arguments
_HELP = f"""usage: ansm train RECIPE --output DIR [--config FILE.toml] [options]

RECIPE is one of {", ".join(recipe_names())}.

--output DIR        receives the weights, the full config, and checkpoints to go on from
--config FILE.toml  a config as written by an earlier run; options override its fields
--localizer NAME    reference name, smp:..., timm:... or module:function, @weights.safetensors
--localizer-mean R,G,B, --localizer-std, --localizer-activation, --localizer-stride,
--localizer-taps    how to talk to it, where `ansm doctor NAME` shows a wrong guess
--images DIR        forged images with --masks; alone, photographs that forgeries are made of, or
                    a list [[image, mask], ...]
--masks DIR         masks with the same stems
--pattern GLOB      only images whose file name matches
--recursive         enter the folders in these
--allow-outside     trust the list: its paths may lead out of its folder
--steps N           of each stage
--device NAME       auto, cpu, cuda, cuda:1, mps or xpu: what computes

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

    from ansm_plugin.commands.placement import placed
    from ansm_plugin.commands.recipe_options import precisions, read_device, read_options
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.recipes.run import run_alone
    from ansm_plugin.system.processes import processes

    device, rest = read_device(arguments)
    config, output = read_options(recipe.RECIPE, name, rest)
    computing = placed(device, **precisions(config))
    with computing, show_progress(Console(stderr=True)) as progress:
        path = run_alone(recipe, config, output, progress)
    if processes().is_first:
        say(f"wrote {path}")
