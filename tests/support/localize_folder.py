"""`ansm localize` with a bright localizer, on files in one folder."""

from __future__ import annotations

from pathlib import Path

from ansm_plugin.cli import main

NAME = "support.bright:bright"
BRIGHT = ("--localizer", NAME, "--bare")


def results(folder: Path) -> list[str]:
    """Return the names of the PNG files among the results."""
    return sorted(p.name for p in (folder / "out").glob("*.png"))


def localize(folder: Path, *arguments: str) -> int:
    """Run the command on names inside `folder`."""
    photos = [str(folder / a) for a in arguments]
    return main(["localize", *photos, "--output", str(folder / "out"), *BRIGHT])
