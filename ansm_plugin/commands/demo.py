"""`ansm demo`: the main job on the embedded default."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ansm_plugin.commands.progress import progress
from ansm_plugin.demo import demonstrate
from ansm_plugin.evaluation import print_table, write_json
from ansm_plugin.text import say


def run(*, output: Path, images: int, json: Path | None, command_line: str) -> None:
    """Evaluate, show the table and say where the files are."""
    with progress(Console(stderr=True)) as report:
        evaluation = demonstrate(images, output, command_line=command_line, report=report)
    print_table(evaluation, Console())
    say(f"wrote {output / 'demo.json'}, {output / 'summary.png'} and {output / 'panels'}")
    if json is not None:
        say(f"wrote {write_json(evaluation, json)}")
