"""`ansm train RECIPE`: trains a localizer or its ANSM; its options come from the recipe."""

from __future__ import annotations

from collections.abc import Sequence

from ansm_plugin.commands.options import Parser, add_options
from ansm_plugin.commands.reading import wants_help
from ansm_plugin.commands.train_options import TrainOptions
from ansm_plugin.errors import ConfigError
from ansm_plugin.recipes.registry import Recipe, recipe_module, recipe_names
from ansm_plugin.system.text import say

OPTIONS = None  # each recipe has its own besides, so `run` is handed the arguments
TRAINS = {
    "localizer": "a localizer, where you have none",
    "ffa": "an ANSM, stage 1 of the method",
    "mgr": "an ANSM, stage 2, which begins with a file of stage 1",
    "two-stage": "both stages, the whole method (begin here)",
    "hardened": "an ANSM further, against an attacker who knows it; hours",
}


def run(arguments: Sequence[str]) -> None:
    """Train as `arguments` say: the recipe's name, then options.

    Raises:
        AnsmError: an option, a file or a folder cannot be used, or training stopped.
    """
    if not arguments or arguments[0].startswith("-"):
        print(_help())
        if wants_help(arguments):
            return
        raise ConfigError(f"no recipe was given; allowed: {', '.join(recipe_names())}.")
    name = arguments[0]
    recipe = recipe_module(name)
    if wants_help(arguments):
        from ansm_plugin.commands.recipe_help import recipe_parser

        print(recipe_parser(name, recipe.RECIPE).format_help())
        return
    _train(recipe, name, arguments[1:])


def _help() -> str:
    """Return what all recipes have in common."""
    parser = Parser(
        prog="ansm train",
        usage="ansm train RECIPE --output DIR [--config FILE.toml] [options]",
        description="RECIPE is " + "; ".join(f"{name}: {TRAINS[name]}" for name in recipe_names()),
        epilog="`ansm train RECIPE --help` shows every field of the recipe as an option.",
    )
    add_options(parser, TrainOptions)
    return parser.format_help()


def _train(recipe: Recipe, name: str, arguments: Sequence[str]) -> None:
    """Read the options of a recipe and run it, alone in its folder."""
    from rich.console import Console

    from ansm_plugin.commands.placement import placed
    from ansm_plugin.commands.recipe_options import precisions, read_options
    from ansm_plugin.commands.terminal import show_progress
    from ansm_plugin.recipes.run import run_alone
    from ansm_plugin.system.processes import processes

    config, output, device, notes = read_options(recipe.RECIPE, name, arguments)
    for note in notes if processes().is_first else ():
        say(f"note: {note}")
    computing = placed(device, **precisions(config))
    with computing, show_progress(Console(stderr=True)) as progress:
        path = run_alone(recipe, config, output, progress)
    if processes().is_first:
        say(f"wrote {path}")
